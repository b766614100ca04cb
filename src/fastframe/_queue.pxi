# The bytes of a stream that aren't delivered yet.

cdef enum:
    # Payloads from here on are received straight into the object delivered.
    LARGE = 65536
    # What a buffer may hold beyond what arrived.
    SLACK = 65536
    # The first bytes of a stream that a hint is taken from.
    HINT = 8
    # The most frames for which a list makes room before it has them.
    PLACES = 8192

cdef uint8_t nothing[1]


cdef class _Queue:
    """Undelivered bytes, and where the parser stands in them.

    They lie, in order, in `lead` and `target` while a large frame is on its way, then in
    `block` from `start` to `stop`. Such a frame's payload is received into the object that
    is delivered, which grows with what arrives.
    """

    cdef _Plan plan
    cdef Block *block
    cdef Py_ssize_t start
    cdef Py_ssize_t stop
    cdef Py_ssize_t seen  # bytes at `start` that were judged before, without an answer
    cdef Span span  # the last judgement
    cdef bint known  # it knows the frame's size
    cdef PyObject *target  # a large payload on its way, as a bytes object that only this stream knows
    cdef Py_ssize_t payload
    cdef Py_ssize_t filled
    cdef bytes lead
    cdef uint64_t offset  # the stream's position: where the first undelivered byte is
    cdef uint64_t frames
    cdef uint64_t taken

    def __dealloc__(self):
        drop_block(self.block)
        Py_XDECREF(self.target)

    cdef inline uint8_t *base(self) noexcept:
        if self.block == NULL:
            return nothing
        return memory(self.block) + self.start

    cdef void drop(self) noexcept:
        """Forget every undelivered byte."""
        drop_block(self.block)
        self.block = NULL
        self.start = self.stop = self.seen = 0
        Py_XDECREF(self.target)
        self.target = NULL
        self.lead = None
        self.known = False

    cdef int move(self, Py_ssize_t size) except -1:
        """Move the queued bytes to the front of a block of `size` bytes."""
        cdef Py_ssize_t held = self.stop - self.start
        cdef Block *fresh = new_block(size)
        memcpy(memory(fresh), self.base(), held)
        drop_block(self.block)
        self.block = fresh
        self.start = 0
        self.stop = held
        return 0

    cdef int reserve(self, Py_ssize_t extra) except -1:
        """Make room for `extra` bytes behind the queued ones."""
        cdef Py_ssize_t held = self.stop - self.start
        if self.block != NULL and self.block.refs == 1:
            if self.block.size - self.stop >= extra:
                return 0
            if self.start >= held and self.block.size - held >= extra:
                memmove(memory(self.block), self.base(), held)
                self.start = 0
                self.stop = held
                return 0
        return self.move(max(held + extra, 2 * held, 64))

    cdef int keep(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Queue a copy of `size` bytes."""
        if size:
            self.reserve(size)
            memcpy(memory(self.block) + self.stop, data, size)
            self.stop += size
        return 0

    cdef int put(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Take a copy of `size` bytes: to the target what belongs to it, and the rest to the queue."""
        cdef Py_ssize_t used = 0
        if self.target != NULL:
            used = self.fill_target(data, size)
        return self.keep(data + used, size - used)

    cdef void settle(self) noexcept:
        """Give back memory that the queued bytes don't need, or that a batch holds."""
        cdef Py_ssize_t held = self.stop - self.start
        if self.block == NULL:
            return
        if not held:
            self.start = self.stop = 0
            if self.block.size > 1024 or self.block.refs > 1:
                drop_block(self.block)
                self.block = NULL
        elif self.block.refs > 1 or self.block.size > 2 * held + SLACK:
            try:
                self.move(held + 64)
            except MemoryError:
                pass  # it only holds more than it needs

    cdef int room(self, Py_ssize_t size) except -1:
        """Put the queue in front of a block of `size` bytes, or of twice its own bytes if that is more."""
        cdef Py_ssize_t held = self.stop - self.start
        if held > size // 2:
            return self.reserve(min(size, SLACK))
        if self.block == NULL or self.block.refs > 1 or self.block.size < size:
            return self.move(size)
        if self.start:
            memmove(memory(self.block), self.base(), held)
            self.start = 0
            self.stop = held
        return 0

    cdef bytes raw(self):
        """All undelivered bytes."""
        cdef bytes queued = PyBytes_FromStringAndSize(<char *>self.base(), self.stop - self.start)
        if self.target == NULL:
            return queued
        return self.lead + PyBytes_FromStringAndSize(raw_data(self.target), self.filled) + queued

    # Large payloads.

    cdef Py_ssize_t begin_target(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t room) except -1:
        """Begin with the large frame of which `size` bytes are at `data`; returns how many of them it took."""
        cdef Py_ssize_t payload = self.span.high - self.span.low
        cdef Py_ssize_t have = min(size - self.span.low, payload)
        cdef bytes lead
        cdef PyObject *target
        ff_prime()
        lead = PyBytes_FromStringAndSize(<const char *>data, self.span.low)
        target = raw_bytes(NULL, min(payload, max(have + room, 64)))
        if target == NULL:
            raise MemoryError
        memcpy(raw_data(target), data + self.span.low, have)
        self.target = target
        self.lead = lead
        self.payload = payload
        self.filled = have
        return self.span.low + have

    cdef inline bint is_large(self, Py_ssize_t held) noexcept:
        """Whether the frame judged last, of which `held` bytes are there, goes straight into its object."""
        return self.known and held >= self.span.header and self.span.high - self.span.low >= LARGE

    cdef int queue_to_target(self, Py_ssize_t room) except -1:
        """Begin with the queued frame if it is large; without the memory for that it stays in the queue."""
        if self.target == NULL and self.stop > self.start and self.is_large(self.stop - self.start):
            try:
                self.start += self.begin_target(self.base(), self.stop - self.start, room)
            except MemoryError:
                pass
        return 0

    cdef int grow_target(self, Py_ssize_t room) except -1:
        """Make room for so many bytes more in the target, and for as many again as it has."""
        if raw_size(self.target) < self.payload and raw_size(self.target) - self.filled < room:
            ff_bytes_grow(&self.target, min(self.payload, 2 * self.filled + room))
        return 0

    cdef Py_ssize_t fill_target(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Copy to the target what belongs to it; returns how many bytes."""
        cdef Py_ssize_t take = min(size, self.payload - self.filled)
        self.grow_target(take)
        memcpy(raw_data(self.target) + self.filled, data, take)
        self.filled += take
        return take

    cdef bint target_done(self) noexcept:
        return self.filled == self.payload and self.stop - self.start >= self.plan.layout.trailing

    cdef int check_target(self) except -1:
        """Raise if the trailer of the complete frame in the target is wrong."""
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t before = layout.trailing - layout.trailer_size
        if layout.trailer_size and memcmp(self.base() + before, layout.trailer, layout.trailer_size):
            raise layout_error(self.plan, self.raw()[: self.span_total()], self.offset)
        return 0

    cdef bytes take_target(self):
        """The complete frame in the target; raises if its trailer is wrong."""
        cdef Py_ssize_t trailing = self.plan.layout.trailing
        self.check_target()
        cdef bytes frame = <bytes>self.target
        Py_DECREF(frame)
        self.target = NULL
        self.start += trailing
        self.count(len(self.lead) + self.payload + trailing)
        self.lead = None
        self.known = False
        return frame

    cdef Py_ssize_t span_total(self) noexcept:
        return PyBytes_GET_SIZE(self.lead) + self.payload + self.plan.layout.trailing

    cdef int untarget(self) except -1:
        """Put the bytes of the target back in front of the queue."""
        if self.target == NULL:
            return 0
        cdef bytes everything = self.raw()
        cdef Block *block = new_block(PyBytes_GET_SIZE(everything) + 64)
        memcpy(memory(block), PyBytes_AS_STRING(everything), PyBytes_GET_SIZE(everything))
        self.drop()
        self.block = block
        self.stop = PyBytes_GET_SIZE(everything)
        return 0

    cdef inline void count(self, Py_ssize_t size) noexcept:
        self.frames += 1
        self.taken += size
        self.offset += size


cdef object layout_error(_Plan plan, bytes frame, uint64_t offset):
    return plan.framing._bad_trailer(frame, offset)
