"""How the pairs of idioms.py are carried, one function for each kind of them and direction: seconds a message.

It is this process' CPU time; where each message waits for another, time by the clock. The other end is a process of its own
that sends or takes bytes as fast as it can. How many messages come is checked, and how long they are.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import connection
from typing import Any

import fastframe
from idioms import Names

__all__ = ["FRAMINGS", "WORKS", "Work"]

Work = Callable[[Names, fastframe.Framing, int, int], float]
"""Carries so many messages of so many bytes, at least: seconds for each."""

CHUNK = 64 * 1024
WIRE = 1 << 20
HERE = ("127.0.0.1", 0)
KEY = b"secret"


def beside(*work: Callable[[], object]) -> Callable[[], None]:
    """Run these in processes of their own; what is returned waits for them. RuntimeError if one of them fails."""
    children = []
    for call in work:
        child = os.fork()
        if not child:
            try:
                call()
                os._exit(0)
            except ConnectionError:
                os._exit(0)  # who has had enough hangs up
            finally:
                os._exit(1)
        children.append(child)

    def done() -> None:
        if sum([os.waitpid(child, 0)[1] for child in children]):
            raise RuntimeError("the other end has failed")

    return done


def wires(framing: fastframe.Framing, size: int, count: int) -> tuple[bytes, int, int]:
    """Bytes of whole messages, how many times they are sent, and how many messages that makes."""
    each = max(1, WIRE // size)
    times = -(-count // each)
    return framing.encode_many([bytes(size)] * each), times, each * times


def pump(descriptor: int, wire: bytes, times: int) -> None:
    view = memoryview(wire)
    for _ in range(times):
        at = 0
        while at < len(wire):
            at += os.write(descriptor, view[at:])


def drain(descriptor: int) -> None:
    buffer = bytearray(WIRE)
    while os.readv(descriptor, [buffer]):
        pass


kept: list[Any] = []


def accepted(listener: Any) -> Any:
    """Its next connection, which stays open as long as this process."""
    found = listener.accept()
    kept.append(found)
    return found[0] if isinstance(found, tuple) else found


def tcp() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets."""
    with socket.create_server(HERE) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


def counted(messages: Iterable[bytes], size: int) -> int:
    """How many there are. ValueError if the last one hasn't this size."""
    count, message = 0, b""
    for message in messages:  # noqa: B007 - the last one is looked at
        count += 1
    if len(message) != size:
        raise ValueError(f"a message of {len(message)} bytes, not {size}")
    return count


def expect(found: int, wanted: int) -> None:
    """ValueError if it isn't what is wanted."""
    if found != wanted:
        raise ValueError(f"{found} messages, not {wanted}")


def receive_from_socket(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    ours, theirs = tcp()
    done = beside(partial(pump, theirs.fileno(), wire, times))
    theirs.close()
    begun = time.process_time()
    expect(counted(code["receive"](ours), size), wanted)
    spent = time.process_time() - begun
    done()
    return spent / wanted


def send_to_socket(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    messages = [bytes(size)] * count
    ours, theirs = tcp()
    with theirs:
        done = beside(lambda: (ours.close(), drain(theirs.fileno())))
        begun = time.process_time()
        code["send"](ours, messages)
        spent = time.process_time() - begun
    done()
    return spent / count


def receive_from_file(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    reading, writing = os.pipe()
    done = beside(partial(pump, writing, wire, times))
    os.close(writing)
    begun = time.process_time()
    with open(reading, "rb") as file:
        expect(counted(code["receive"](file), size), wanted)
        spent = time.process_time() - begun
    done()
    return spent / wanted


def send_to_file(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    messages = [bytes(size)] * count
    reading, writing = os.pipe()
    done = beside(lambda: (os.close(writing), drain(reading)))
    begun = time.process_time()
    with open(writing, "wb") as file:
        code["send"](file, messages)
        spent = time.process_time() - begun
    os.close(reading)
    done()
    return spent / count


def receive_in_loop(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)

    async def main(address: tuple[str, int]) -> None:
        found = 0
        async for message in code["receive"](*address):
            found += len(message) == size
        expect(found, wanted)

    with socket.create_server(HERE) as server:
        done = beside(lambda: pump(accepted(server).fileno(), wire, times))
        begun = time.process_time()
        asyncio.run(main(server.getsockname()))
        spent = time.process_time() - begun
    done()
    return spent / wanted


def send_in_loop(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    messages = [bytes(size)] * count
    with socket.create_server(HERE) as server:
        done = beside(lambda: drain(accepted(server).fileno()))
        begun = time.process_time()
        asyncio.run(code["send"](*server.getsockname(), messages))
        spent = time.process_time() - begun
    done()
    return spent / count


def receive_by_callback(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    ours, theirs = tcp()
    messages: list[bytes] = []
    found = 0
    with ours, selectors.DefaultSelector() as selector:
        done = beside(partial(pump, theirs.fileno(), wire, times))
        theirs.close()
        begun = time.process_time()
        peer = code["Peer"](ours, messages.append)
        selector.register(ours, selectors.EVENT_READ)
        try:
            while selector.select():
                peer.readable()
                if messages:
                    found += counted(messages, size)
                    messages.clear()
        except EOFError:
            spent = time.process_time() - begun
    done()
    expect(found, wanted)
    return spent / wanted


def send_by_callback(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    message = bytes(size)
    ours, theirs = tcp()
    with theirs, selectors.DefaultSelector() as selector:
        done = beside(lambda: (ours.close(), drain(theirs.fileno())))
        begun = time.process_time()
        with ours:
            peer = code["Peer"](ours, None)
            selector.register(ours, selectors.EVENT_WRITE)
            for _ in range(count):
                peer.send(message)
                while peer.pending():
                    selector.select()
                    peer.writable()
        spent = time.process_time() - begun
    done()
    return spent / count


def receive_by_listener(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    with code["listen"](HERE) as listener:

        def feed() -> None:
            with connection.Client(listener.address, authkey=KEY) as conn:
                pump(conn.fileno(), wire, times)

        done = beside(feed)
        begun = time.process_time()
        expect(counted(code["receive"](listener), size), wanted)
        spent = time.process_time() - begun
    done()
    return spent / wanted


def send_by_client(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    messages = [bytes(size)] * count
    with connection.Listener(HERE, authkey=KEY) as listener:
        done = beside(lambda: drain(accepted(listener).fileno()))
        begun = time.process_time()
        code["send"](listener.address, messages)
        spent = time.process_time() - begun
    done()
    return spent / count


def receive_from_pipe(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    reading, writing = code["pipe"]()
    done = beside(partial(pump, writing.fileno(), wire, times))
    writing.close()
    begun = time.process_time()
    expect(counted(code["receive"](reading), size), wanted)
    spent = time.process_time() - begun
    done()
    return spent / wanted


def send_to_pipe(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    messages = [bytes(size)] * count
    reading, writing = code["pipe"]()
    done = beside(lambda: (os.close(writing.fileno()), drain(reading.fileno())))
    begun = time.process_time()
    code["send"](writing, messages)
    spent = time.process_time() - begun
    reading.close()
    done()
    return spent / count


def receive_by_twisted(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    from twisted.internet.testing import StringTransport

    wire, times, wanted = wires(framing, size, count)
    chunks = [wire[at : at + CHUNK] for at in range(0, len(wire), CHUNK)]
    messages: list[bytes] = []
    found = 0
    receiver = code["Receiver"](messages.append)
    receiver.makeConnection(StringTransport())
    begun = time.process_time()
    for _ in range(times):
        for chunk in chunks:
            receiver.dataReceived(chunk)
            if messages:
                found += counted(messages, size)
                messages.clear()
    spent = time.process_time() - begun
    expect(found, wanted)
    return spent / wanted


def send_by_twisted(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    from twisted.internet.testing import StringTransport

    message = bytes(size)
    sender, transport = code["Receiver"](None), StringTransport()
    sender.makeConnection(transport)
    begun = time.process_time()
    for _ in range(count):
        sender.sendString(message)
    spent = time.process_time() - begun
    expect(len(framing.decode(transport.value())), count)
    return spent / count


def answer_by_host(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    wire, times, wanted = wires(framing, size, count)
    (source, requests), (replies, sink) = os.pipe(), os.pipe()
    done = beside(
        lambda: (os.close(replies), pump(requests, wire, times)),
        lambda: (os.close(requests), os.close(sink), drain(replies)),
    )
    os.close(requests)
    found: list[int] = []
    with open(source, "rb") as reading, open(sink, "wb") as writing:
        begun = time.process_time()
        code["serve"](reading, writing, lambda message: found.append(len(message)) or message)
        spent = time.process_time() - begun
    os.close(replies)
    done()
    expect(found.count(size), wanted)
    return spent / wanted


def round_trips(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    ours, theirs = tcp()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    done = beside(lambda: (ours.close(), code["answer"](theirs)))
    theirs.close()
    begun = time.perf_counter()
    expect(counted(code["ask"](ours, [bytes(size)] * count), size), count)
    spent = time.perf_counter() - begun
    done()
    return spent / count


def remote_calls(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    import rpyc

    class Echo(rpyc.Service):
        @staticmethod
        def exposed_echo(message: bytes) -> bytes:
            return message

    ours, theirs = tcp()
    done = beside(lambda: (ours.close(), code["connection"](theirs, Echo()).serve_all()))
    theirs.close()
    conn, message = code["connection"](ours, rpyc.VoidService()), bytes(size)
    echo = conn.root.echo
    begun = time.perf_counter()
    expect(counted((echo(message) for _ in range(count)), size), count)
    spent = time.perf_counter() - begun
    conn.close()
    done()
    return spent / count


def tasks(code: Names, framing: fastframe.Framing, size: int, count: int) -> float:
    message = bytes(size)
    with code["pool"]() as pool:
        pool.map(len, [message] * 100, chunksize=1)  # its processes are there
        begun = time.perf_counter()
        expect(pool.map(len, [message] * count, chunksize=1).count(size), count)
        spent = time.perf_counter() - begun
        pool.close()
        pool.join()
    return spent / count


# --- Which is measured for what --------------------------------------------------------------------------------------

SIZES = {"64 B": 64, "64 KiB": CHUNK, "1 MiB": WIRE}


def received(work: Work) -> dict[str, tuple[Work, int]]:
    return {f"received, {name}": (work, size) for name, size in SIZES.items()}


def sent(work: Work) -> dict[str, tuple[Work, int]]:
    return {"sent, 64 B": (work, 64)}


def by_the_clock(work: Work) -> dict[str, tuple[Work, int]]:
    return {"by the clock, 64 B": (work, 64)}


WORKS = {
    "sockets": received(receive_from_socket) | sent(send_to_socket),
    "files": received(receive_from_file) | sent(send_to_file),
    "loop": received(receive_in_loop) | sent(send_in_loop),
    "callbacks": received(receive_by_callback) | sent(send_by_callback),
    "listener": received(receive_by_listener) | sent(send_by_client),
    "pipe": received(receive_from_pipe) | sent(send_to_pipe),
    "twisted": received(receive_by_twisted) | sent(send_by_twisted),
    "host": received(answer_by_host),
    "trips": by_the_clock(round_trips),
    "calls": by_the_clock(remote_calls),
    "pool": by_the_clock(tasks),
}
FRAMINGS = {
    "listener": fastframe.preset("mp_connection"),
    "pipe": fastframe.preset("mp_connection"),
    "twisted": fastframe.LengthField(4),
}
"""Where the code doesn't say it."""
