"""fastframe's Server as an echo server: a handler that gets a batch, and a function that is called for each frame."""

from __future__ import annotations

from program import Job, ready

import fastframe

FRAMING = fastframe.LengthField(4)


class Echo:
    """Sends a batch back at once."""

    def frames(self, conn: fastframe.server.Client, frames: list[bytes]) -> None:
        """Frames have come."""
        conn.send_many(frames)


def same(frame: bytes) -> bytes:
    """The reply to a frame."""
    return frame


def echo_batches(job: Job) -> None:
    """Send every frame back, a batch at a time."""
    _serve(job, Echo())


def echo_frames(job: Job) -> None:
    """Send every frame back, frame by frame."""
    _serve(job, same)


def _serve(job: Job, handler: object) -> None:
    with fastframe.Server(handler, job.listen(), FRAMING) as server:
        ready()
        server.serve_forever()
