# The recv loop.

cdef class FrameReader(_Stream):
    """Reads frames from a descriptor, without ever waiting.

    source: an int, or an object with fileno(), which is kept; a stream socket, a pipe, a terminal, a file.
        The descriptor is neither closed nor made nonblocking. ValueError for a closed one, TypeError for
        a TLS or datagram socket.
    framing: what a frame looks like.
    buffer_size: the bytes to ask for in one call, at least 1.
    readahead: False never takes a byte beyond the frame it delivers, at most one frame a call; so that
        the descriptor can be shared, selected on, handed over or upgraded. It costs two system calls a
        frame, or one a byte where the size of the frame isn't in a header.

    Every complete frame comes before the error or the end: ConnectionClosed, at the end between two frames;
    TruncatedFrame, at the end inside one; ConnectionLost, with the `errno` of a broken connection; InvalidFrame.
    These stay: every later call raises an equal one. A plain OSError (ENOBUFS, ENOMEM, EBADF, ENOTSOCK)
    changes nothing, nor does an exception of a signal handler: call again.
    """

    cdef _Handle handle
    cdef Py_ssize_t buffer_size
    cdef readonly bint _at_eof  # the last receive found the end
    cdef bint trickles  # little came the last time
    cdef bint modest  # a large frame has just ended: take little, another one may follow
    cdef public bint _waits  # the system call itself may wait, where the descriptor does
    cdef public bint _patient  # reads don't receive, only `fetch` does
    cdef bint fetching

    def __init__(self, source, framing, *, buffer_size=BUFFER_SIZE, readahead=True):
        if self.plan is not None:
            raise TypeError("FrameReader.__init__() has been called already")
        size = operator_index(buffer_size)
        if size < 1:
            raise ValueError(f"buffer_size must be at least 1, not {size}")
        plan = plan_of(framing)
        self.handle = handle_of(source)
        self.buffer_size = size
        self.single = not readahead
        self.plan = plan

    def fileno(self):
        """The descriptor."""
        if self.handle is None:
            raise TypeError("FrameReader.__init__() has not been called")
        return self.handle.fd

    def read(self):
        """All frames that are complete; receives once, and again only while no frame is. [] would have to wait.

        Frames already held are returned without a system call. With readahead=False, one frame at most.
        """
        return self.take()

    cdef list take(self):
        self.enter()
        try:
            self.check()
            if not self.out:
                self.deliver()
            while not self.out and self.trouble is None:
                if self.pull() < 0:
                    break
                if self._at_eof:
                    self.last()
                    break
                self.deliver()
            self.settle()
            self.conclude(bool(self.out))
            return self.hand()
        finally:
            self.busy = False

    def read_batch(self):
        """As `read`; the frames come as a batch that hasn't made objects of them. An empty one would have to wait."""
        self.enter()
        try:
            self.check()
            while True:
                if self.out:
                    return self.batch_out()
                if self.target != NULL and self.target_done():
                    frame = self.next_frame()
                    self.settle()
                    return self.batch_of(frame)
                if self.target == NULL and self.stop > self.start:
                    batch = self.batch_queued()
                    if batch.count:
                        return batch
                    self.queue_to_target(SLACK)
                if self.pull() < 0:
                    self.settle()
                    return self.batch_of(None)
                if self._at_eof:
                    self.last()
                    return self.batch_out()
        finally:
            self.busy = False

    def _read_batch(self):
        """As `read_batch`; None would have to wait."""
        cdef FrameBatch batch = self.read_batch()
        return batch if batch.count else None

    def read_one(self):
        """The next frame; only this one is parsed. None would have to wait."""
        return self.one()

    cdef bytes one(self):
        self.enter()
        try:
            self.check()
            while True:
                frame = self.next_frame()
                if frame is not None:
                    if self.start == self.stop:
                        self.settle()
                    return frame
                self.queue_to_target(SLACK)
                if self.pull() < 0:
                    self.settle()
                    return None
                if self._at_eof:
                    self.last()
        finally:
            self.busy = False

    def _incoming(self):
        """Iterates over what `read_one` gives, as long as that isn't None; and again."""
        cdef _Frames frames = _Frames.__new__(_Frames)
        frames.reader = self
        return frames

    def _ready(self):
        """Iterates over frames that `_incoming` has left complete, as long as nothing else is called."""
        cdef _Ready frames = _Ready.__new__(_Ready)
        frames.reader = self
        return frames

    def _iterate(self, later):
        """An iterator over the frames of `_ready`, or of `later()` where there is none, until that gives None."""
        cdef _Iteration iteration = _Iteration.__new__(_Iteration)
        iteration.reader = self
        iteration.later = later
        return iteration

    def _hush(self):
        """Let `_ready` have no frames."""
        self.quiet = False

    cdef inline bytes swift(self):
        """The next frame, if it is complete and nothing is odd about its length; else None. Only while `quiet`."""
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t held = self.stop - self.start, total
        cdef uint8_t *data
        cdef uint64_t length
        if held < layout.offset + layout.width:
            return None
        data = memory(self.block) + self.start
        length = load(data + layout.offset, layout.width, layout.big_endian)
        if length - layout.low >= layout.count:
            return None
        total = <Py_ssize_t>(length + <uint64_t>layout.adjustment + <uint64_t>layout.header)
        if total > held:
            return None
        frame = new_bytes(data + layout.strip, total - layout.strip)
        self.start += total
        self.count(total)
        self.known = False
        if total == held:
            self.settle()
        return frame

    def _look(self):
        """The bytes of the next frame, received and held; -1 if a read would raise; None if it would have to wait."""
        self.enter()
        try:
            while not self.out and self._error is None and self.broken is None:
                if self.target != NULL:
                    if self.target_done():
                        self.check_target()
                        return self.payload
                elif self.stop > self.start and self.judge(self.base(), self.stop - self.start, 0):
                    return self.span.high - self.span.low
                self.queue_to_target(SLACK)
                if self.pull() < 0:
                    self.settle()
                    return None
                if self._at_eof:
                    self.last()
            return len(self.out[0]) if self.out else -1
        except FrameError:
            # It is found again, or sticky: for the read to raise.
            self.seen = 0
            return -1
        finally:
            self.busy = False

    def _push(self, chunks):
        """Take bytes that were received by other means, behind those that are held: out of a deque, chunk by chunk."""
        cdef bytes data
        self.enter()
        try:
            self.check()
            while chunks:
                data = chunks[0]
                self.put(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
                chunks.popleft()
        finally:
            self.busy = False

    def _fetch(self):
        """Receive once, for those that read later. True: something was received. False: look what has stopped it.

        Raises a plain OSError, and what parsing raises of what stands before the loss of the connection.
        """
        return self.fetch()

    cdef bint fetch(self) except -1:
        self.enter()
        try:
            if self._error is not None or self.broken is not None or self._at_eof:
                return False
            self.fetching = True
            return self.pull() > 0 and not self._at_eof
        except ConnectionLost:
            return False  # it stays
        finally:
            self.fetching = self.busy = False

    def _lose(self, error):
        """The connection is lost, as somebody else has found: behind the frames that are complete."""
        self.enter()
        try:
            self.fetching = True
            if self._error is None:
                self.lose(error)
        except FrameError:
            pass  # it stays
        finally:
            self.fetching = self.busy = False

    cdef int lose(self, int error) except -1:
        """The connection is lost, behind what was received."""
        if self.fetching:
            self.begin()
            self.deliver()
            self.conclude(len(self.out) > 0)
        if self._error is None:
            self._error = ConnectionLost(error, strerror(error))
            self.errors = 1
        return self.check()

    cdef int deliver(self) except -1:
        """Deliver what is complete of the target and the queue."""
        if self.target != NULL:
            if not self.target_done():
                return 0
            self.deliver_target()
            if self.single or self.trouble is not None:
                return 0
        if self.stop > self.start:
            self.start += self.parse(self.base(), self.stop - self.start, None)
            if self.trouble is None:
                self.queue_to_target(SLACK)
        return 0

    cdef int last(self) except -1:
        """Deliver what the end of the stream makes of what is left, and set the error that stands behind it."""
        closed = ConnectionClosed()
        self.finish()
        self.conclude(False)
        self._error = closed
        return self.check()

    cdef int pull(self) except -2:
        """One receive: 1 if bytes came, or the end, then `_at_eof`; -1 if it would have to wait."""
        cdef Py_ssize_t got, ask
        if self._at_eof:
            return 1
        if self._patient and not self.fetching:
            return -1
        if self.target != NULL and self.filled < self.payload:
            self.grow_target(SLACK)
            got = self.receive(
                <uint8_t *>raw_data(self.target) + self.filled, raw_size(self.target) - self.filled
            )
            if got > 0:
                self.filled += got
                self.modest = self.filled == self.payload
            return 1 if got >= 0 else -1
        if self.single and self.plan.layout.kind != UNTIL_EOF:
            # What a header declares is asked for only as far as as much has arrived.
            ask = max(1, min(self.missing(), self.stop - self.start + SLACK))
            self.reserve(ask)
        elif self.modest:
            ask = min(self.buffer_size, 4096)
            self.reserve(ask)
            self.modest = False
        elif self.buffer_size < LARGE:
            ask = self.buffer_size
            self.reserve(ask)
        else:
            self.room(max(self.buffer_size, BUFFER_SIZE))  # blocks of that size are kept, and shared
            ask = min(self.block.size - self.stop, self.buffer_size)
        got = self.receive(memory(self.block) + self.stop, ask)
        if got > 0:
            self.stop += got
        return 1 if got >= 0 else -1

    cdef Py_ssize_t receive(self, uint8_t *data, Py_ssize_t size) except -2:
        """The system call: bytes received, 0 at the end, -1 if it would have to wait."""
        cdef _Handle handle = self.handle
        cdef Py_ssize_t got
        cdef int error, may_wait = self._waits
        if handle.channel is not None:
            return self.receive_from(handle.channel, data, size)
        while True:
            if self.trickles and handle.is_socket and not may_wait:
                got = ff_read(handle.fd, handle.is_socket, handle.blocking, may_wait, data, size)
                error = ff_last_error() if got < 0 else 0
            else:
                with nogil:
                    got = ff_read(handle.fd, handle.is_socket, handle.blocking, may_wait, data, size)
                    error = ff_last_error() if got < 0 else 0
            self.trickles = 0 < got < SWIFT
            if got > size:
                raise SystemError(f"the system received {got} bytes into a buffer of {size}")
            if got >= 0:
                self._at_eof = got == 0
                return got
            if ff_would_block(error):
                return -1
            if ff_interrupted(error):
                PyErr_CheckSignals()
            elif ff_is_local(error):
                raise OSError(error, strerror(error))
            else:
                self.lose(error)
                return -1

    cdef Py_ssize_t receive_from(self, object channel, uint8_t *data, Py_ssize_t size) except -2:
        """As `receive`, from a channel."""
        cdef bytes got = None
        try:
            got = channel.receive(size)
        except ConnectionLost as error:
            self._error = error
        if self._error is not None:
            self.errors = 1
            self.check()
        if got is None:
            return -1
        if PyBytes_GET_SIZE(got) > size:
            raise SystemError(f"the channel received {len(got)} bytes where {size} were wanted")
        memcpy(data, PyBytes_AS_STRING(got), PyBytes_GET_SIZE(got))
        self._at_eof = not got
        return PyBytes_GET_SIZE(got)


@cython.final
@cython.internal
cdef class _Frames:
    """What `_incoming` gives. It may go on after it has stopped."""

    cdef FrameReader reader

    def __iter__(self):
        return self

    def __next__(self):
        cdef FrameReader reader = self.reader
        frame = reader.one()
        if frame is None:
            raise StopIteration
        reader.quiet = reader.plan.layout.plain and not (reader.single or reader.out or reader.target != NULL)
        return frame


@cython.final
@cython.internal
cdef class _Ready:
    """What `_ready` gives. It may go on after it has stopped."""

    cdef FrameReader reader

    def __iter__(self):
        return self

    def __next__(self):
        frame = self.reader.swift() if self.reader.quiet else None
        if frame is None:
            raise StopIteration
        return frame


@cython.final
@cython.internal
cdef class _Iteration:
    """What `_iterate` gives."""

    cdef FrameReader reader
    cdef object later

    def __iter__(self):
        return self

    def __next__(self):
        cdef bytes frame
        if self.reader.quiet:
            frame = self.reader.swift()
            if frame is not None:
                return frame
        frame = self.later()
        if frame is None:
            raise StopIteration
        return frame
