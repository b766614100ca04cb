# The send loop.

# Made while there is memory for it.
cdef object OUT_OF_MEMORY = ConnectionLost(ENOMEM, strerror(ENOMEM))

cdef enum:
    # Frames up to this size are copied behind their header and sent as one piece; larger payloads go by reference.
    COPIED = 4096
    # As many pieces as every system's IOV_MAX allows in one call.
    PARTS = 1024
    # Small frames that make no more bytes than these need nothing but room on the stack.
    LITTLE = 20480
    # What a channel is given at once: the payload of one TLS record.
    CHANNEL_BYTES = 16384


cdef class _Outbox:
    """What the kernel hasn't taken yet, in order."""

    cdef _Handle handle
    cdef Py_ssize_t high_water
    cdef Py_ssize_t low_water
    cdef list queue  # bytes objects, the first `gone` of them and `skip` bytes of the next are sent
    cdef Py_ssize_t gone
    cdef Py_ssize_t skip
    cdef Py_ssize_t held
    cdef Py_ssize_t last  # bytes of the last write
    cdef bint closed_gate
    cdef public bint _waits  # the system call itself may wait, where the descriptor does
    cdef bint gathering  # the last piece of the queue is a small copy
    cdef object _error

    cdef void hold(self, Py_ssize_t change) noexcept:
        self.held += change
        if self.held > self.high_water:
            self.closed_gate = True
        elif self.held <= self.low_water:
            self.closed_gate = False

    cdef Py_ssize_t transmit(self, ff_part **parts, int *count) except -1:
        """Send until the kernel takes no more; returns the bytes sent and steps over them."""
        cdef _Handle handle = self.handle
        cdef Py_ssize_t sent = 0, got
        cdef int error, may_wait = self._waits
        if handle.channel is not None:
            return self.transmit_to(handle.channel, parts, count)
        while count[0]:
            if handle.is_socket and not may_wait and count[0] == 1 and ff_part_size(parts[0]) < SWIFT:
                got = ff_write(handle.fd, True, handle.blocking, False, parts[0], 1)
                error = ff_last_error() if got < 0 else 0
            else:
                with nogil:
                    got = ff_write(handle.fd, handle.is_socket, handle.blocking, may_wait, parts[0], count[0])
                    error = ff_last_error() if got < 0 else 0
            if got >= 0:
                sent += got
                parts[0] = ff_parts_skip(parts[0], count, got)
                if handle.is_socket:
                    break
            elif ff_would_block(error):
                break
            elif ff_interrupted(error):
                PyErr_CheckSignals()
            elif ff_is_local(error):
                raise OSError(error, strerror(error))
            else:
                self.lose(error)
        return sent

    cdef Py_ssize_t transmit_to(self, object channel, ff_part **parts, int *count) except -1:
        """As `transmit`, to a channel."""
        cdef Py_ssize_t sent = 0, got, size
        cdef bytes data
        while count[0]:
            data = first_of(parts[0], count[0], CHANNEL_BYTES)
            size = PyBytes_GET_SIZE(data)
            taken = None
            try:
                taken = channel.send(data)
            except ConnectionLost as error:
                self.end(error)
            if self._error is not None:
                raise self._error._again()
            if taken is None:
                break
            got = taken
            if not 0 <= got <= size:
                raise SystemError(f"the channel took {taken} of {size} bytes")
            sent += got
            parts[0] = ff_parts_skip(parts[0], count, got)
        return sent

    cdef int lose(self, int error) except -1:
        self.end(ConnectionLost(error, strerror(error)))
        raise self._error._again()

    cdef void end(self, object error) noexcept:
        """Nothing can be sent any more: a frame would begin inside another one, or nobody is there."""
        self._error = error
        self.queue.clear()
        self.gone = self.skip = self.last = 0
        self.hold(-self.held)

    cdef int queue_rest(self, ff_part *parts, int count, object owners, int first) except -1:
        """Queue what is left of the parts; without the memory for it the connection is lost.

        owners: the objects that the parts lie in, from that of the part `first` on; None for what has to be copied. Or
        what the second of three parts lies in.
        """
        try:
            if type(owners) is not list:
                owners = [None, owners if PyBytes_CheckExact(owners) else None, None]
            return self.queue_parts(parts, count, owners, first)
        except MemoryError:
            self.end(OUT_OF_MEMORY)
            raise

    cdef int queue_parts(self, ff_part *parts, int count, list owners, int first) except -1:
        """Queue the parts that `bytes` objects own by reference, copies of the others, small ones side by side."""
        cdef Py_ssize_t size
        cdef int i
        for i in range(count):
            size = ff_part_size(&parts[i])
            if not size:
                continue
            owner = owners[first + i]
            if owner is None:
                owner = PyBytes_FromStringAndSize(ff_part_base(&parts[i]), size)
                if self.gathering and size < COPIED and len(self.queue) > self.gone + 1:
                    self.queue[len(self.queue) - 1] += owner
                else:
                    self.queue.append(owner)
                self.gathering = len(self.queue[len(self.queue) - 1]) < COPIED
            else:
                if not self.held:
                    self.skip = PyBytes_GET_SIZE(owner) - size
                self.queue.append(owner)
                self.gathering = False
            self.hold(size)
        return 0

    cdef int flush_queue(self) except -1:
        """Send what is queued until the kernel takes no more."""
        cdef ff_part parts[PARTS]
        cdef ff_part *rest
        cdef Py_ssize_t sent = 0, offered, size
        cdef int count, left
        cdef bytes piece
        while self.held:
            count = 0
            offered = 0
            while count < PARTS and self.gone + count < len(self.queue):
                piece = self.queue[self.gone + count]
                size = PyBytes_GET_SIZE(piece) - (0 if count else self.skip)
                ff_part_set(&parts[count], PyBytes_AS_STRING(piece) + (0 if count else self.skip), size)
                offered += size
                count += 1
            rest = parts
            left = count
            try:
                self.transmit(&rest, &left)
            finally:
                if self._error is None:
                    sent = offered - size_of(rest, left)
                    self.dequeue(sent, count - left, ff_part_size(rest) if left else 0)
            if sent < offered:
                break
        return 0

    cdef int dequeue(self, Py_ssize_t sent, Py_ssize_t pieces, Py_ssize_t first_left) except -1:
        """Forget `sent` bytes: so many whole pieces, and of the next one all but `first_left` bytes."""
        self.gone += pieces
        self.hold(-sent)
        if not self.held:
            self.queue = []
            self.gone = self.skip = 0
            return 0
        self.skip = len(self.queue[self.gone]) - first_left if first_left else 0
        if self.gone > 1024 or self.gone * 2 > len(self.queue):
            del self.queue[: self.gone]
            self.gone = 0
        return 0
