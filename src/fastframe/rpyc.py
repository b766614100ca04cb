"""RPyC's channel, for connections over sockets, TLS and pipes.

    from fastframe.rpyc import Channel
    from rpyc import SocketStream
    from rpyc.utils.factory import connect_channel

    conn = connect_channel(Channel(SocketStream.connect("localhost", port)), MyService)

A server does the same with SocketStream(sock) for each client, and calls serve_all().

The same: constructor, methods, attributes, the bytes on the wire, when it compresses, EOFError and a closed stream at
every end; nothing beyond a message is taken, so that `fileno` can be selected on.
Better: a message goes out in one piece, where the host's last byte of a large one waits for Nagle's algorithm; `poll`
is True for whole messages, so that a peer that stops inside one holds nobody up, and sees what TLS has in its buffer;
a recv that is interrupted goes on where it was; memory follows what arrived; a message without its newline, or that
doesn't unpack, is EOFError. Bursts of small messages are 1.5 times as fast.
Not better: a small call takes 8 to 18 % longer than with the host; from 64 KiB on it takes as long.
Different on purpose: the channel owns the stream, whose own read, write and poll aren't for use any more; a send waits
as long as a recv does, whatever the socket's timeout; two threads in recv are ConcurrentUse; Windows' pipes stay the
host's. MAX_SIZE is for subclasses that trust their peers less.
"""

from __future__ import annotations

import sys
import zlib

from rpyc.core import channel
from rpyc.core.stream import PipeStream, SocketStream
from rpyc.lib import Timeout

from .connection import wrap
from .errors import ConnectionLost, FrameTooLarge
from .presets import preset

__all__ = ["Channel"]


class Channel(channel.Channel):
    """Messages over an rpyc stream, a SocketStream or a PipeStream; TypeError for another."""

    __slots__ = ("_conn",)

    MAX_SIZE = 2**32 - 1
    """The most bytes of a message, received or sent: as it is, and compressed."""

    def __init__(self, stream: SocketStream | PipeStream, compress: bool = True) -> None:
        super().__init__(stream, compress)
        if isinstance(stream, SocketStream):
            source, writer = stream.sock, None
        elif isinstance(stream, PipeStream) and sys.platform != "win32":
            source, writer = (getattr(file, "buffer", file) for file in (stream.incoming, stream.outgoing))
        else:
            raise TypeError(f"a SocketStream or a PipeStream is needed, not {type(stream).__name__}")
        framing = preset("rpyc").replace(strip=4, max_size=1 + self.MAX_SIZE)  # a flag and the message
        self._conn = wrap(source, framing, writer=writer, readahead=False, timeout=None)

    def close(self) -> None:
        self._conn.close(0)
        self.stream.close()

    def poll(self, timeout: Timeout | float | None) -> bool:
        try:
            return self._conn.poll(Timeout(timeout).timeleft())
        except (EOFError, ConnectionLost, ValueError) as error:
            raise self._ended(error) from error

    def recv(self) -> bytes:
        try:
            frame = self._conn.recv()
            return self._inflated(memoryview(frame)[1:]) if frame[0] else frame[1:]
        except (EOFError, ConnectionLost, ValueError, zlib.error) as error:
            raise self._ended(error) from error

    def send(self, data: bytes) -> None:
        if len(data) > self.MAX_SIZE:
            raise FrameTooLarge(len(data), self.MAX_SIZE)
        if self.compress and len(data) > self.COMPRESSION_THRESHOLD:
            frame = b"\1" + zlib.compress(data, self.COMPRESSION_LEVEL)
        else:
            frame = b"\0" + data
        try:
            self._conn.send(frame)
        except FrameTooLarge:
            raise
        except (EOFError, ConnectionLost, ValueError) as error:
            raise self._ended(error) from error

    def _inflated(self, data: memoryview) -> bytes:
        unpacking = zlib.decompressobj()
        message = unpacking.decompress(data, self.MAX_SIZE + 1)
        if len(message) > self.MAX_SIZE or not unpacking.eof:
            raise ValueError(f"a message doesn't unpack to {self.MAX_SIZE} bytes or less")
        return message

    def _ended(self, error: Exception) -> EOFError:
        self.close()
        return EOFError(str(error))
