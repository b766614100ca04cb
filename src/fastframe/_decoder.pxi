# Bytes in, frames out.

cdef class Decoder(_Stream):
    """Finds the frames in a stream of bytes, without I/O.

    framing: what a frame looks like; TypeError for what isn't a Framing.

    When the bytes break the framing, a call that has frames returns them and the next one raises
    the InvalidFrame; `error` shows it at once. From then on every call raises an equal one, and
    nothing is kept. What a Computed's function raises passes unchanged; nothing is lost, and the
    next call asks it again. A second call while one is running is ConcurrentUse and changes nothing.
    Any buffer can be fed; it isn't referenced after the call, unless it is `bytes`.
    """

    def __init__(self, framing):
        if self.plan is not None:
            raise TypeError("Decoder.__init__() has been called already")
        self.plan = plan_of(framing)

    def feed(self, data):
        """Take bytes that arrived; return every frame that is now complete.

        Raises InvalidFrame if there is none before the fault, ConnectionClosed for bytes after the end, TypeError for
        what isn't a buffer, ConcurrentUse.
        """
        cdef _Input given = input_of(data)
        self.enter()
        try:
            return self.take(given.data, given.size)
        finally:
            given.release()
            self.busy = False

    cdef list take(self, const uint8_t *data, Py_ssize_t size):
        cdef Py_ssize_t used
        self.check_open(size)
        self.begin()
        used = self.absorb(data, size)
        if self.trouble is None and self.target == NULL and self.stop == self.start and used < size:
            used += self.parse(data + used, size - used, None)
            if self.trouble is None and used < size and self.is_large(size - used):
                try:
                    used += self.begin_target(data + used, size - used, 0)
                except MemoryError as error:
                    # For the next call to try again, if this one has frames to return.
                    self.trouble = error
        if used < size and (self.out or not isinstance(self.trouble, InvalidFrame)):
            self.keep_rest(data, used, size)
        self.settle()
        self.conclude(len(self.out) > 0)
        return self.hand()

    cdef int keep_rest(self, const uint8_t *data, Py_ssize_t used, Py_ssize_t size) except -1:
        """Queue what a call hasn't used. Without the memory for it, and some of it used, the stream has a hole."""
        try:
            if self.target != NULL and self.filled < self.payload:
                # An exception stopped the target from being filled; the queue can't run ahead of it.
                self.untarget()
            return self.keep(data + used, size - used)
        except MemoryError as error:
            if used:
                self.broken = self.trouble = error
            else:
                raise
        return 0

    cdef int check_open(self, Py_ssize_t size) except -1:
        self.check()
        if self.ended and size:
            raise ConnectionClosed()
        return 0

    cdef Py_ssize_t absorb(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Deliver what is queued, and complete the frame that is begun; returns how many bytes of `data` that took."""
        cdef Py_ssize_t used = 0
        if self.target != NULL:
            used = self.complete_target(data, size)
            if self.target != NULL or self.trouble is not None:
                return used
        if self.stop > self.start:
            if self.known and self.stop - self.start + size < self.span.total and not self.is_large(self.span.total):
                self.keep(data, size)
                return size
            if self.stop - self.start < HINT:
                # A fault in the first frame is told with what its first bytes look like.
                used = min(size, HINT - (self.stop - self.start))
                self.keep(data, used)
            self.start += self.parse(self.base(), self.stop - self.start, None)
            if self.trouble is None and self.stop > self.start:
                used += self.complete_queued(data + used, size - used)
        return used

    cdef Py_ssize_t complete_target(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t used = self.fill_target(data, size)
        cdef Py_ssize_t rest = self.plan.layout.trailing - (self.stop - self.start)
        if self.filled == self.payload and rest > 0:
            rest = min(rest, size - used)
            self.keep(data + used, rest)
            used += rest
        if self.target_done():
            self.deliver_target()
        return used

    cdef Py_ssize_t complete_queued(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Add to the queued part of a frame what it needs, and little more, until it is complete."""
        cdef Py_ssize_t used = 0, held, step
        try:
            while used < size:
                held = self.stop - self.start
                if self.is_large(held):
                    self.queue_to_target(0)
                    if self.target != NULL:
                        return used + self.complete_target(data + used, size - used)
                step = self.span.total - held
                if not self.known:
                    step = max(step, held, 64)
                step = min(step, size - used)
                self.keep(data + used, step)
                used += step
                if self.judge(self.base(), held + step, 0):
                    self.out.append(
                        PyBytes_FromStringAndSize(<char *>self.base() + self.span.low, self.span.high - self.span.low)
                    )
                    used -= held + step - self.span.total
                    self.count(self.span.total)
                    self.known = False
                    self.start = self.stop = 0
                    return used
        except BaseException as error:
            self.trouble = error
            self.known = False
            self.seen = 0
        return used

    def feed_batch(self, data):
        """As `feed`; the frames come as a batch that hasn't made objects of them.

        Of `bytes` that begin with a frame nothing is copied.
        """
        cdef _Input given = input_of(data)
        cdef FrameBatch batch
        cdef Py_ssize_t used
        self.enter()
        try:
            self.check_open(given.size)
            self.untarget()
            if self.out:
                self.keep(given.data, given.size)
                return self.batch_out()
            if self.stop > self.start:
                self.keep(given.data, given.size)
                return self.batch_queued()
            if given.copy is None:
                given.copy = PyBytes_FromStringAndSize(<const char *>given.data, given.size)
            batch = new_batch(given.copy, NULL, <const uint8_t *>PyBytes_AS_STRING(given.copy), given.size)
            used = self.parse(batch.data, batch.size, batch)
            if used < batch.size and (batch.count or not isinstance(self.trouble, InvalidFrame)):
                self.keep_rest(batch.data, used, batch.size)
            self.conclude_batch(batch)
            return batch
        finally:
            given.release()
            self.busy = False

    def push(self, data):
        """Take bytes that arrived, for `pop()`. Nothing is parsed.

        Raises the error that the stream has ended in, ConnectionClosed for bytes after the end, TypeError for what
        isn't a buffer, ConcurrentUse.
        """
        cdef _Input given = input_of(data)
        self.enter()
        try:
            self.check_open(given.size)
            self.put(given.data, given.size)
        finally:
            given.release()
            self.busy = False

    def pop(self):
        """The next frame, or None if it isn't complete. Only this frame is parsed.

        Raises InvalidFrame if that is what comes next, ConcurrentUse.
        """
        self.enter()
        try:
            self.check()
            frame = self.next_frame()
            self.settle()
            return frame
        finally:
            self.busy = False

    def get_buffer(self, hint=-1):
        """A writable buffer to receive into, for `buffer_updated()`: 64 KiB, or more in a large frame.

        hint: the bytes expected; passed over.

        It is valid until the next method call on this decoder, and released then. Raises the error that the stream
        has ended in, ConnectionClosed after the end, TypeError for a hint that isn't an int, ConcurrentUse.
        """
        operator_index(hint)
        self.enter()
        try:
            self.check_open(1)
            if self.target != NULL and self.filled < self.payload:
                self.grow_target(SLACK)
                window = window_of(
                    <object>self.target,
                    NULL,
                    raw_data(self.target) + self.filled,
                    raw_size(self.target) - self.filled,
                    1,
                    True,
                )
            else:
                self.room(BUFFER_SIZE)
                window = window_of(
                    None, self.block, memory(self.block) + self.stop, self.block.size - self.stop, 1, True
                )
            self.view = memoryview(window)
            self.window = window
            return self.view
        finally:
            self.busy = False

    def buffer_updated(self, nbytes):
        """Take the first `nbytes` bytes of what `get_buffer()` gave; return every frame that is now complete.

        Raises as `feed` does; ValueError, and nothing has changed, for less than 0 or more than the buffer has.
        """
        cdef Py_ssize_t size, lent = 0 if self.window is None else self.window.size
        nbytes = operator_index(nbytes)
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError("Decoder.__init__() has not been called")
        self.busy = True
        try:
            self.begin()
            self.trouble = None
            if not 0 <= nbytes <= lent:
                raise ValueError(f"{nbytes} bytes can't have been received into a buffer of {lent}")
            size = nbytes
            if self.window is not None:
                if self.window.owner is None:
                    self.stop += size
                else:
                    self.filled += size
                self.retire()
            if self.target != NULL:
                self.complete_target(nothing, 0)
            if self.target == NULL and self.trouble is None and self.stop > self.start:
                self.start += self.parse(self.base(), self.stop - self.start, None)
                if self.trouble is None:
                    self.queue_to_target(0)
            self.settle()
            self.conclude(len(self.out) > 0)
            return self.hand()
        finally:
            self.busy = False

    def feed_eof(self):
        """The stream has ended: return the frames that are left, [] if there is none.

        Raises TruncatedFrame if it ended inside a frame and no complete one is left, InvalidFrame as `feed` does,
        ConcurrentUse. After a clean end it returns [] again.
        """
        self.enter()
        try:
            self.begin()
            if not self.ended:
                self.absorb(nothing, 0)
                if self.trouble is None:
                    self.finish()
                self.conclude(len(self.out) > 0)
            return self.hand()
        finally:
            self.busy = False
