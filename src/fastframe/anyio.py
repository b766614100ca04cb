"""Frames over anyio's byte streams, on asyncio and on trio; and over trio's own streams.

A thin face: a Decoder between a byte stream and who receives from it. Every byte is parsed and framed by the engine.
"""

from __future__ import annotations

import sys

try:
    from anyio import (
        BrokenResourceError,
        BusyResourceError,
        ClosedResourceError,
        EndOfStream,
        Lock,
        TypedAttributeSet,
        move_on_after,
        typed_attribute,
    )
    from anyio.abc import ByteStream, ObjectStream, SocketAttribute
    from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
except ModuleNotFoundError as error:
    if error.name != "anyio":
        raise
    raise ModuleNotFoundError("fastframe.anyio needs anyio: install fastframe[anyio]", name="anyio") from error

from . import errors
from ._engine import Decoder, Slices
from ._sockets import FIRST_LOOK, INTERNET, LAST_LOOK, is_acknowledged
from ._transport import lost
from .framing import Framing, LengthField

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from socket import socket
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from ._engine import FrameBatch

__all__ = ["ConnectionClosed", "ConnectionLost", "FrameAttribute", "FrameStream"]

RECEIVE_SIZE = 65536
"""Bytes to ask the byte stream for: what memory is quickly had for."""
MOST_SIZE = 262144
"""Bytes to ask for after as many as RECEIVE_SIZE came: what asyncio has received at once then needn't be split."""
CLOSE_TIMEOUT = 5.0
"""How many seconds `aclose` waits for a peer."""


class ConnectionClosed(errors.ConnectionClosed, EndOfStream):
    """The stream ended between two frames: the normal end. It is anyio's EndOfStream too."""


class ConnectionLost(errors.ConnectionLost, BrokenResourceError):
    """The byte stream is broken: `errno` says how, if that is known. It is anyio's BrokenResourceError too."""


class FrameAttribute(TypedAttributeSet):
    """What FrameStream.extra knows, beside what its byte stream does."""

    framing: Framing = typed_attribute()
    """Of the frames received."""
    send_framing: Framing = typed_attribute()
    """Of the frames sent."""


class FrameStream(ObjectStream[bytes]):
    """Frames over a stream of bytes, which it owns from now on.

    stream: an anyio.abc.ByteStream, on asyncio or trio; or a trio.abc.Stream. TypeError for what is neither.
    framing: of the frames received; also of those sent, unless `send_framing` says otherwise.

    Every call is a checkpoint, once for all the frames that it receives or sends. For one task at a time that
    receives: a second one gets BusyResourceError. Sends of several tasks queue up, whole frame by whole frame.

    The stream's normal end is ConnectionClosed, which is an EndOfStream; a broken one ConnectionLost, which is a
    BrokenResourceError; bad input InvalidFrame or TruncatedFrame. Each comes after every complete frame, and stays.
    The two directions fail separately. Once closed, every call raises ClosedResourceError.

    A receive that is cancelled has taken nothing: call again. A send that is cancelled while it waits for another
    one has sent nothing; later, nobody knows how much of its frame was sent, and every send after it raises
    ConnectionLost.
    """

    def __init__(self, stream: ByteStream, framing: Framing, *, send_framing: Framing | None = None) -> None:
        self._stream = _byte_stream(stream)
        self._decoder = Decoder(framing)
        self._send_framing = _checked(framing if send_framing is None else send_framing)
        self._size = RECEIVE_SIZE
        self._lock = Lock(fast_acquire=True)
        self._receiving = False
        self._received_end: ConnectionClosed | ConnectionLost | None = None
        self._sent_end: ConnectionLost | None = None
        self._half_closed = False
        self._closed = False

    async def receive(self) -> bytes:
        """The next frame; only this one is parsed."""
        (frame,) = await self._receive(self._take_one)
        return frame

    async def receive_many(self) -> list[bytes]:
        """All frames that are there, at least one."""
        frames = await self._receive(self._decoder.feed)
        assert isinstance(frames, list)
        return frames

    async def receive_batch(self) -> FrameBatch:
        """All frames that are there, at least one, as a FrameBatch."""
        frames = await self._receive(self._decoder.feed_batch)
        return _batch_of(frames) if isinstance(frames, list) else frames

    async def send(self, item: Buffer) -> None:
        """Send a frame.

        FrameTooLarge or ValueError for a payload that can't be sent; nothing of it is sent then.
        """
        await self._send(self._send_framing.encode(item))

    async def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send a frame for each payload, in slices of up to 1024 frames or 256 KiB.

        A payload that can't be sent, or an exception of the iterable, passes: nothing of its slice is sent, but
        what was before may be. Another task's frame may come between two slices.
        """
        encoder = _Encoder(self._send_framing)
        slices: Any = Slices(payloads)
        while not slices.done:
            slices.write_to(encoder)
            await self._send(encoder.taken)

    async def send_eof(self) -> None:
        """Tell the peer that nothing more will come, behind all that is sent. Receiving goes on.

        A send raises ClosedResourceError then. NotImplementedError where the byte stream can't, as anyio's TLSStream.
        Does nothing the second time.
        """
        async with self._lock:
            await checkpoint()
            if self._half_closed and not self._closed:
                return
            self._check_sending()
            try:
                await self._stream.send_eof()
            except (BrokenResourceError, OSError) as error:
                self._fail_sending(error)
            self._half_closed = True

    async def aclose(self) -> None:
        """Close the byte stream, so that a peer that reads gets all that was sent.

        Where a TCP connection would lose something, the peer is told the end first, and what still comes is discarded
        until everything has arrived (where the system can tell), or the peer ends too, or 5 seconds are over. A close
        that is cancelled doesn't wait, nor does one while another task receives, which gets ClosedResourceError.
        """
        waits = not (self._closed or self._receiving or self._sent_end or self._received_end)
        self._closed = True
        try:
            if waits:
                with move_on_after(CLOSE_TIMEOUT):
                    await self._settle()
        finally:
            await self._stream.aclose()

    @property
    def framing(self) -> Framing:
        """Of the frames received. Assigning it parses anew every byte that isn't delivered yet.

        Assigning raises TypeError for what isn't a Framing, BusyResourceError while another task receives, and the
        InvalidFrame or TruncatedFrame that was raised already.
        """
        return self._decoder.framing

    @framing.setter
    def framing(self, framing: Framing) -> None:
        self._check_receiving()
        self._decoder.framing = framing

    @property
    def send_framing(self) -> Framing:
        """Of the frames sent, from the next send on."""
        return self._send_framing

    @send_framing.setter
    def send_framing(self, framing: Framing) -> None:
        self._send_framing = _checked(framing)

    def unread(self) -> bytes:
        """The bytes that are received and not delivered, which are forgotten: to go on with the byte stream itself.

        Raises BusyResourceError while another task receives, and the error that the frames have ended in.
        """
        self._check_receiving()
        return self._decoder.unread()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the byte stream, and FrameAttribute's."""
        return {
            **self._stream.extra_attributes,
            FrameAttribute.framing: lambda: self.framing,
            FrameAttribute.send_framing: lambda: self.send_framing,
        }

    # --- Helpers

    def _check_receiving(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._receiving:
            raise BusyResourceError("receiving from")

    async def _settle(self) -> None:
        """Wait until a close loses nothing that was sent. Input that is unread then would reset a TCP connection."""
        attributes: Mapping[Any, Callable[[], Any]] = self._stream.extra_attributes
        sock = attributes.get(SocketAttribute.raw_socket, lambda: None)()
        async with self._lock:
            try:
                if sock is None or sock.family not in INTERNET or _is_delivered(sock):
                    return
                if not self._half_closed:
                    await self._stream.send_eof()
                await self._discard(sock)
            except (EndOfStream, BrokenResourceError, ClosedResourceError, NotImplementedError, OSError, ValueError):
                pass  # all has arrived; or there is nobody to wait for; or TLS, which ends in its own way

    async def _discard(self, sock: Any) -> None:
        look = FIRST_LOOK
        while not _is_delivered(sock):
            look = FIRST_LOOK if await self._discard_some(look) else min(2 * look, LAST_LOOK)

    async def _discard_some(self, seconds: float) -> bool:
        """Whether something has come, in so many seconds. What the peer acknowledges isn't announced."""
        with move_on_after(seconds) as scope:
            await self._stream.receive(RECEIVE_SIZE)
        return not scope.cancelled_caught

    async def _receive(self, take: Callable[[bytes], list[bytes] | FrameBatch]) -> list[bytes] | FrameBatch:
        """What `take` finds in bytes received, once it finds a frame. What only the end completes comes as a list."""
        self._check_receiving()
        self._receiving = True
        try:
            return await self._receive_some(take)
        finally:
            self._receiving = False

    async def _receive_some(self, take: Callable[[bytes], list[bytes] | FrameBatch]) -> list[bytes] | FrameBatch:
        if self._received_end is not None or not self._decoder.needed:
            # Taken behind the checkpoint, so that nothing is lost if that is cancelled.
            await checkpoint()
            frames = take(b"")
        else:
            frames = await self._receive_chunk(take)
        while not frames:
            frames = await self._receive_chunk(take)
        return frames

    async def _receive_chunk(self, take: Callable[[bytes], list[bytes] | FrameBatch]) -> list[bytes] | FrameBatch:
        """What `take` finds in the next bytes, which may be nothing; or raise the end."""
        if self._received_end is not None:
            raise self._received_end._again()
        try:
            data = await self._stream.receive(self._size)
        except (EndOfStream, BrokenResourceError, OSError) as error:
            if self._closed:
                raise ClosedResourceError from error
            if not isinstance(error, EndOfStream):
                self._received_end = _lost(error)
                raise self._received_end._again() from error
            self._received_end = ConnectionClosed()
            return self._decoder.feed_eof()
        # No await comes between what the byte stream gives and the decoder.
        self._size = RECEIVE_SIZE if len(data) < RECEIVE_SIZE else MOST_SIZE
        return take(data)

    def _take_one(self, data: bytes) -> list[bytes]:
        self._decoder.push(data)
        frame = self._decoder.pop()
        return [] if frame is None else [frame]

    def _check_sending(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._half_closed:
            raise ClosedResourceError("sending has ended")
        if self._sent_end is not None:
            raise self._sent_end._again()

    async def _send(self, data: bytes) -> None:
        """Send it behind what other tasks send. Nothing may follow what may have been cut."""
        async with self._lock:
            self._check_sending()
            if not data:
                await checkpoint()
                return
            await checkpoint_if_cancelled()
            try:
                await self._stream.send(data)
            except (BrokenResourceError, OSError) as error:
                self._fail_sending(error)
            except BaseException:
                self._sent_end = ConnectionLost(
                    "a send was broken off: some of a frame may have been sent, and not the rest"
                )
                raise

    def _fail_sending(self, error: Exception) -> NoReturn:
        """Raise what the byte stream's error means; later sends raise an equal one."""
        if self._closed:
            raise ClosedResourceError from error
        self._sent_end = _lost(error)
        raise self._sent_end._again() from error


class _Encoder:
    """Takes slices of payloads in a writer's place: `taken` are the frames of the last one."""

    __slots__ = ("_framing", "taken")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self.taken = b""

    def write_many(self, payloads: list[bytes]) -> None:
        self.taken = self._framing.encode_many(payloads)


class _TrioStream(ByteStream):
    """A trio.abc.Stream as a byte stream of anyio."""

    def __init__(self, stream: Any) -> None:
        import trio

        self._trio = trio
        self._stream = stream

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except Exception as error:
            self._raise(error)
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send_all(item)
        except Exception as error:
            self._raise(error)

    async def send_eof(self) -> None:
        if not hasattr(self._stream, "send_eof"):
            raise NotImplementedError(f"a {type(self._stream).__name__} can't end one direction")
        try:
            await self._stream.send_eof()
        except Exception as error:
            self._raise(error)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _raise(self, error: Exception) -> NoReturn:
        """Raise the same error as anyio has it."""
        if isinstance(error, self._trio.ClosedResourceError):
            raise ClosedResourceError(*error.args) from error
        if isinstance(error, self._trio.BrokenResourceError):
            raise BrokenResourceError(*error.args) from error
        if isinstance(error, self._trio.BusyResourceError):
            raise BusyResourceError("using") from error
        raise error


def _checked(framing: Framing) -> Framing:
    if not isinstance(framing, Framing):
        raise TypeError(f"a Framing is needed, not {type(framing).__name__}")
    return framing


def _byte_stream(stream: Any) -> ByteStream:
    if isinstance(stream, ByteStream):
        return stream
    if hasattr(stream, "receive_some") and hasattr(stream, "send_all"):
        return _TrioStream(stream)
    raise TypeError(f"an anyio ByteStream or a trio Stream is needed, not {type(stream).__name__}")


def _is_delivered(sock: socket) -> bool:
    """Whether all that was sent has arrived, and nothing is there unread. False where the system can't tell."""
    if sys.platform != "linux":
        return False
    from fcntl import ioctl
    from termios import FIONREAD

    return not any(ioctl(sock.fileno(), FIONREAD, bytes(4))) and is_acknowledged(sock.fileno())


def _lost(error: BaseException) -> ConnectionLost:
    """What the byte stream's error says."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return ConnectionLost(str(error) or "the byte stream is broken") if cause is None else ConnectionLost(*lost(cause))


def _batch_of(frames: list[bytes]) -> FrameBatch:
    """Frames that are objects already, as a batch."""
    framing = LengthField(8)
    return Decoder(framing).feed_batch(framing.encode_many(frames))
