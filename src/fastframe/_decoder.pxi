# Bytes in, frames out.

@cython.final
cdef class Decoder(_Stream):
    """Decoder(framing): sans-I/O. Takes the bytes of a stream in any pieces and gives its frames.

    `feed` and its kin deliver every frame that is complete; `push` and `pop` one at a time.
    An error is raised once the frames before it are delivered, and by every later call; `error`
    shows it at once. O(n) in the bytes taken, for any pieces.
    """

    def __init__(self, framing):
        if self.plan is not None:
            raise TypeError("Decoder.__init__() has been called already")
        self.plan = plan_of(framing)

    def feed(self, data):
        """Take a buffer's bytes; return, as a list of bytes, every frame that is now complete."""
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
        self.out = []
        used = self.absorb(data, size)
        if self.trouble is None and self.target == NULL and self.stop == self.start and used < size:
            used += self.parse(data + used, size - used, None)
            if self.trouble is None and used < size and self.is_large(size - used):
                used += self.begin_target(data + used, size - used, 0)
        if used < size and (self.out or not isinstance(self.trouble, InvalidFrame)):
            self.keep(data + used, size - used)
        self.settle()
        self.conclude(len(self.out) > 0)
        return self.hand()

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
            try:
                self.out.append(self.take_target())
            except BaseException as error:
                self.trouble = error
        return used

    cdef Py_ssize_t complete_queued(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Add to the queued part of a frame what it needs, and little more, until it is complete."""
        cdef Py_ssize_t used = 0, held, step
        try:
            while used < size:
                held = self.stop - self.start
                if self.is_large(held):
                    self.queue_to_target(0)
                    return used + self.complete_target(data + used, size - used)
                step = self.span.total - held
                if not self.known:
                    step = max(step, held, 64)
                step = min(step, size - used)
                self.keep(data + used, step)
                used += step
                if self.judge(self.base(), held + step, 0):
                    used -= held + step - self.span.total
                    self.out.append(
                        PyBytes_FromStringAndSize(<char *>self.base() + self.span.low, self.span.high - self.span.low)
                    )
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
        """Take a buffer's bytes; return every frame that is now complete as a FrameBatch, without copying `bytes`."""
        cdef _Input given = input_of(data)
        cdef FrameBatch batch
        cdef Py_ssize_t used
        self.enter()
        try:
            self.check_open(given.size)
            self.untarget()
            if self.stop > self.start:
                self.keep(given.data, given.size)
                return self.batch_queued()
            if given.copy is None:
                given.copy = PyBytes_FromStringAndSize(<const char *>given.data, given.size)
            batch = new_batch(given.copy, NULL, <const uint8_t *>PyBytes_AS_STRING(given.copy), given.size)
            used = self.parse(batch.data, batch.size, batch)
            self.keep(batch.data + used, batch.size - used)
            self.conclude(batch.count > 0)
            return batch
        finally:
            given.release()
            self.busy = False

    def push(self, data):
        """Take a buffer's bytes for `pop`, without looking at them."""
        cdef _Input given = input_of(data)
        cdef Py_ssize_t used = 0
        self.enter()
        try:
            self.check_open(given.size)
            if self.target != NULL:
                used = self.fill_target(given.data, given.size)
            self.keep(given.data + used, given.size - used)
        finally:
            given.release()
            self.busy = False

    def pop(self):
        """Return the next frame as bytes, or None until more is pushed."""
        self.enter()
        try:
            self.check()
            frame = self.next_frame()
            if frame is None:
                self.settle()
            return frame
        finally:
            self.busy = False

    def get_buffer(self, hint=-1):
        """Return writable memory, at least a byte, to receive into; valid until the next call on this decoder."""
        operator_index(hint)
        self.enter()
        try:
            self.check_open(1)
            if self.target != NULL and self.filled < self.payload:
                self.grow_target(SLACK)
                self.window = window_of(
                    <object>self.target,
                    NULL,
                    raw_data(self.target) + self.filled,
                    raw_size(self.target) - self.filled,
                    1,
                    True,
                )
            else:
                self.room(POOLED_SIZE)
                self.window = window_of(
                    None, self.block, memory(self.block) + self.stop, self.block.size - self.stop, 1, True
                )
            self.view = memoryview(self.window)
            return self.view
        finally:
            self.busy = False

    def buffer_updated(self, n):
        """Take the first `n` bytes of the memory that get_buffer lent; return every frame that is now complete."""
        cdef Py_ssize_t size = operator_index(n)
        cdef Py_ssize_t lent = 0 if self.window is None else self.window.size
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError("Decoder.__init__() has not been called")
        self.busy = True
        try:
            self.check()
            self.out = []
            if size < 0 or size > lent:
                raise ValueError(f"{size} bytes can't have been received into a buffer of {lent}")
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
        """Tell that the stream has ended: the frames that were left, [] at a clean end, else TruncatedFrame."""
        self.enter()
        try:
            self.check()
            self.out = []
            if not self.ended:
                self.absorb(nothing, 0)
                if self.trouble is None:
                    self.out += self.finish()
                self.conclude(len(self.out) > 0)
            return self.hand()
        finally:
            self.busy = False
