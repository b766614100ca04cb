# Many frames on their way into few system calls.

cdef Py_ssize_t size_of(const ff_part *parts, int count) noexcept:
    """The bytes in so many parts."""
    cdef Py_ssize_t size = 0
    cdef int i
    for i in range(count):
        size += ff_part_size(&parts[i])
    return size


cdef bytes first_of(const ff_part *parts, int count, Py_ssize_t most):
    """The first bytes of so many parts, `most` at most."""
    cdef Py_ssize_t size = min(size_of(parts, count), most), at = 0, step
    cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
    cdef int i = 0
    while at < size:
        step = min(<Py_ssize_t>ff_part_size(&parts[i]), size - at)
        memcpy(PyBytes_AS_STRING(data) + at, ff_part_base(&parts[i]), step)
        at += step
        i += 1
    return data


# Of frames that are encoded already: nothing stands in front of them or behind them.
cdef Layout whole
whole.kind = UNTIL_EOF


cdef class _Gather:
    """Frames on their way into few system calls: small ones copied side by side, large payloads by reference."""

    cdef FrameWriter writer
    cdef Block *block
    cdef Py_ssize_t start  # of the piece that is being written
    cdef Py_ssize_t stop
    cdef ff_part *parts  # PARTS of them, of whoever gathers
    cdef int count
    cdef list owners  # of the parts; as long as they can be many, so that no memory is wanting once some are sent
    cdef bint begun
    cdef bint blocked
    cdef bint refused
    cdef object trouble

    def __dealloc__(self):
        drop_block(self.block)

    cdef int add(self, list items, bint encoded) except -1:
        """Take the payloads, or frames that are encoded already, and send what doesn't fit any more."""
        cdef Layout *layout = &self.writer.plan.layout
        cdef PyObject **item = list_items(items)
        cdef Py_ssize_t size, i = 0, count = len(items)
        cdef uint8_t *out
        if encoded:
            layout = &whole
        while i < count:
            size = raw_size(item[i])
            if self.block.size - self.stop < 2 * SHORT_LEAD + (size if size < COPIED else 0) or self.count > PARTS - 4:
                self.ship()
            out = memory(self.block) + self.stop
            if size < COPIED:
                i += put_frames(layout, item + i, count - i, COPIED, &out, self.block.size - self.stop)
                self.stop = out - memory(self.block)
                continue
            self.stop += put_lead(layout, size, out)
            self.close_piece()
            ff_part_set(&self.parts[self.count], raw_data(item[i]), size)
            self.owners[self.count] = items[i]
            self.count += 1
            if layout.trailer_size:
                memcpy(memory(self.block) + self.stop, layout.trailer, layout.trailer_size)
                self.stop += layout.trailer_size
            i += 1
        return 0

    cdef int close_piece(self) except -1:
        if self.stop > self.start:
            ff_part_set(&self.parts[self.count], memory(self.block) + self.start, self.stop - self.start)
            self.owners[self.count] = None
            self.count += 1
            self.start = self.stop
        return 0

    cdef int ship(self) except -1:
        """Send what is gathered; once the kernel or an exception stopped that, queue it."""
        cdef ff_part *rest = self.parts
        cdef Py_ssize_t offered
        cdef int left
        self.close_piece()
        left = self.count
        offered = size_of(rest, left)
        if not self.blocked and not self.refused:
            try:
                self.writer.transmit(&rest, &left)
                self.begun = True
            except BaseException as error:
                self.trouble = error
                self.begun |= size_of(rest, left) < offered
                self.refused = not self.begun or self.writer._error is not None
            self.blocked = left > 0
        if left and not self.refused:
            self.writer.queue_rest(rest, left, self.owners, self.count - left)
        self.count = 0
        self.start = self.stop = 0
        return 0
