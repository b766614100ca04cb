"""A parser of frames as it is written by hand where chunks come in."""

from __future__ import annotations

from program import HEADER


class Parser:
    """Cuts chunks into payloads. Only of an unfinished frame the bytes are gathered."""

    def __init__(self) -> None:
        """Begin between two frames."""
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are whole now."""
        unpack = HEADER.unpack_from
        held = self._held
        payloads = []
        start, end = 0, len(data)
        if held:
            if len(held) < 4:
                start = 4 - len(held)
                held += data[:start]
                if len(held) < 4:
                    return []
            (size,) = unpack(held)
            missing = 4 + size - len(held)
            held += data[start : start + missing]
            start += missing
            if start > end:
                return []
            payloads.append(bytes(memoryview(held)[4:]))
            self._held = held = bytearray()
        while end - start >= 4:
            (size,) = unpack(data, start)
            stop = start + 4 + size
            if stop > end:
                break
            payloads.append(data[start + 4 : stop])
            start = stop
        held += data[start:]
        return payloads
