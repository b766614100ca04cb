# The frames on their way out.

cdef Py_ssize_t little_size(const Layout *layout, PyObject **item, Py_ssize_t count) noexcept:
    """The bytes of the frames of these, if they are few and small `bytes`; else 0."""
    cdef Py_ssize_t total = 0, size, i
    if count and is_bytes(item[0]) and raw_size(item[0]) > LITTLE // count:
        return 0  # if the others are like the first, that is: no need to look at them
    for i in range(count):
        if not is_bytes(item[i]) or raw_size(item[i]) >= COPIED:
            return 0
        size = frame_size(layout, raw_size(item[i]))
        if size < 0:
            return 0
        total += size
        if total > LITTLE:
            return 0
    return total


cdef class FrameWriter(_Outbox):
    """Writes frames to a descriptor, without ever waiting: what the kernel doesn't take is queued.

    sink: an int, or an object with fileno(), which is kept; a stream socket, a pipe, a terminal, a file.
        The descriptor is neither closed nor made nonblocking. ValueError for a closed one, TypeError for
        a TLS or datagram socket.
    framing: what a frame looks like.
    high_water, low_water: `writable` is False from more than high_water pending bytes on, until they are
        low_water or less.
    max_pending: the most bytes to queue; a call that could queue more takes nothing and is QueueFull. Only
        when nothing is pending, `write` takes a frame of any size.

    A broken connection is ConnectionLost, with its `errno`; it stays, every later call raises an equal one, and what
    was pending is dropped. A plain OSError (ENOBUFS, ENOMEM, EBADF, ENOTSOCK) and what a signal handler raises keep
    what is queued. A second call while one is running is ConcurrentUse and changes nothing.
    """

    cdef _Plan plan
    cdef Py_ssize_t max_pending
    cdef Py_ssize_t last_frames
    cdef bint busy
    cdef bint calm  # whoever wants may write, without asking the others
    cdef bint dashing
    cdef uint64_t frames
    cdef uint64_t taken

    def __init__(self, sink, framing, *, high_water=65536, low_water=16384, max_pending=16777216):
        if self.plan is not None:
            raise TypeError("FrameWriter.__init__() has been called already")
        high, low, most = operator_index(high_water), operator_index(low_water), operator_index(max_pending)
        if not 0 <= low <= high or most < 0:
            raise ValueError(f"0 <= low_water <= high_water and 0 <= max_pending must hold, not {low}, {high}, {most}")
        plan = plan_of(framing)
        self.handle = handle_of(sink)
        self.high_water = high
        self.low_water = low
        self.max_pending = most
        self.queue = []
        self.plan = plan

    def __reduce__(self):
        raise TypeError("a FrameWriter can't be pickled or copied")

    def write(self, payload):
        """Send the frame that carries `payload`, in one system call; True if all that was written is with the kernel.

        Nothing is taken if it raises FrameTooLarge, ValueError or TypeError, as the framing's `encode` does; QueueFull;
        or, with bytes pending, what `flush` raises. A payload that isn't `bytes` may be changed after the call.
        """
        cdef _Input given = None
        self.enter()
        self.last = 0
        try:
            if PyBytes_CheckExact(payload):
                return self.write_parts(
                    <const uint8_t *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), payload
                )
            given = input_of(payload)
            return self.write_parts(given.data, given.size, payload)
        finally:
            if given is not None:
                given.release()
            self.busy = False

    def write_many(self, payloads):
        """Send the frames of all payloads, in order and in few system calls; True if all is with the kernel.

        Nothing is taken if the iterable raises, or one of the payloads isn't taken, as by `write`.
        """
        cdef Py_ssize_t total
        if not self.busy:
            self.last = 0
            if type(payloads) is list and not self.held and self._error is None and self.plan is not None:
                total = little_size(&self.plan.layout, list_items(payloads), len(payloads))
                if 0 < total <= self.max_pending:
                    return self.write_shown(payloads, total)
        return self.write_list(payloads_of(payloads))

    cdef bint write_shown(self, list items, Py_ssize_t total) except -1:
        """Send small frames out of the caller's own list: they are copied before any other code can change it."""
        self.busy = True
        try:
            return self.write_little(items, &self.plan.layout, total)
        finally:
            self.busy = False

    cdef bint write_list(self, list items) except -1:
        """Send the frames of these payloads, which are `bytes`."""
        self.enter()
        self.last = 0
        try:
            return self.write_items(items)
        finally:
            self.busy = False

    def flush(self):
        """Send what is pending, as far as the kernel takes it; True if nothing is left.

        Raises ConnectionLost, a plain OSError that changes nothing, ConcurrentUse.
        """
        self.enter()
        try:
            self.flush_queue()
            return self.held == 0
        finally:
            self.busy = False

    def fileno(self):
        """The descriptor."""
        if self.handle is None:
            raise TypeError("FrameWriter.__init__() has not been called")
        return self.handle.fd

    @property
    def pending(self):
        """Bytes that the kernel hasn't taken yet."""
        return self.held

    @property
    def writable(self):
        """Whether more may be written without the queue growing too long."""
        return not self.closed_gate

    @property
    def framing(self):
        """What the next frame looks like. Assignable: TypeError for what isn't a Framing, ConcurrentUse."""
        return None if self.plan is None else self.plan.framing

    @framing.setter
    def framing(self, framing):
        cdef _Plan plan = plan_of(framing)
        self.enter()
        self.plan = plan
        self.busy = False

    @framing.deleter
    def framing(self):
        raise AttributeError("the framing of a writer can't be deleted")

    @property
    def error(self):
        """The ConnectionLost that this direction has ended in, or None."""
        return self._error

    @property
    def stats(self):
        """Frames taken, their bytes on the wire, and errors (0 or 1) so far."""
        return Stats(self.frames, self.taken, 0 if self._error is None else 1)

    def _dash(self, payload):
        """As `write` of a small frame to a socket, where nobody has to be asked: see `_calm`.

        True if all of it is sent. None if some of it is, and the rest queued. False: nothing has happened, and `write`
        will do. No Python code runs inside.
        """
        cdef uint8_t piece[COPIED + 3 * SHORT_LEAD]
        cdef ff_part part
        cdef ff_part *rest = &part
        cdef Layout *layout
        cdef Py_ssize_t size, head, total, got
        cdef int left = 1, error
        if not self.calm or self.busy or self.held or not PyBytes_CheckExact(payload):
            return False
        layout = &self.plan.layout
        size = PyBytes_GET_SIZE(payload)
        head = lead_size(layout, size)
        if size > COPIED or size > layout.limit or head < 0:
            return False
        total = head + size + layout.trailer_size
        put_frame(layout, PyBytes_AS_STRING(payload), size, piece)
        ff_part_set(&part, piece, total)
        self.busy = self.dashing = True
        with nogil:
            got = ff_write(self.handle.fd, True, self.handle.blocking, False, &part, 1)
            error = ff_last_error() if got < 0 else 0
        self.busy = self.dashing = False
        if got == total:
            self.accept(total, 1)
            return True
        self.calm = False
        if got >= 0:
            self.accept(total, 1)
            rest = ff_parts_skip(rest, &left, got)
            self.queue_rest(rest, left, None, 0)
            return None
        if not (ff_would_block(error) or ff_interrupted(error) or ff_is_local(error)):
            self.lose(error)
        return False

    def _rush(self, given):
        """As `write` of small `bytes`, or `write_many` of a list of them, where nobody has to be asked: see `_calm`.

        True if all of it is sent. None if some of it is, and the rest queued. False: nothing has happened, or the
        connection is lost; the others will do, or tell. Neither Python code nor another thread runs inside.
        """
        cdef uint8_t frames[LITTLE + 2 * SHORT_LEAD]
        cdef uint8_t *end = frames
        cdef PyObject *single = <PyObject *>given
        cdef PyObject **items = &single
        cdef Py_ssize_t count = 1, total, got
        cdef ff_part part
        cdef int error
        if not self.calm or self.busy or self.held or self._error is not None:
            return False
        if type(given) is list:
            items = list_items(given)
            count = len(<list>given)
        total = little_size(&self.plan.layout, items, count)
        if not total or (type(given) is list and total > self.max_pending):
            return False
        put_frames(&self.plan.layout, items, count, COPIED, &end, sizeof(frames))
        ff_part_set(&part, frames, total)
        got = ff_write(self.handle.fd, True, self.handle.blocking, False, &part, 1)
        if got == total:
            self.accept(total, count)
            return True
        if got >= 0:
            return self.keep_rest(&part, got, total, count)
        error = ff_last_error()
        if not (ff_would_block(error) or ff_interrupted(error) or ff_is_local(error)):
            self.end(ConnectionLost(error, strerror(error)))
        return False

    def _fits(self, given):
        """Whether `write_many` would send these together and refuse none: one small `bytes`, or a list of few such."""
        cdef PyObject *single = <PyObject *>given
        if self.plan is None:
            return False
        if type(given) is list:
            return little_size(&self.plan.layout, list_items(given), len(<list>given)) > 0
        return little_size(&self.plan.layout, &single, 1) > 0

    cdef keep_rest(self, ff_part *part, Py_ssize_t sent, Py_ssize_t total, Py_ssize_t frames):
        """Queue what the kernel hasn't taken of these frames: None."""
        cdef int left = 1
        self.busy = True
        try:
            self.accept(total, frames)
            self.queue_rest(ff_parts_skip(part, &left, sent), left, None, 0)
        finally:
            self.busy = False

    def _calm(self):
        """Let everybody `_dash` or `_rush`, until `_still`. Where some `_dash`, others call that before they write."""
        self.calm = not self.held and self.handle.is_socket and self.handle.channel is None and self._error is None

    def _still(self, alone=False):
        """Let nobody do so any more, and wait for another thread that does: a call that never waits itself.

        alone: there are no other threads, after a fork.
        """
        self.calm = False
        if alone and self.dashing:
            self.busy = self.dashing = False
        while self.dashing:
            with nogil:
                ff_yield()

    def _withdraw(self):
        """Take the frames of the last write back if none of their bytes has been sent; whether that was so."""
        cdef Py_ssize_t rest
        if self._error is not None:
            return False
        self.enter()
        try:
            if not self.last or self.held < self.last:
                return False
            rest = self.last
            while rest:
                piece = self.queue.pop()
                if len(piece) > rest:
                    self.queue.append(piece[: len(piece) - rest])
                rest -= min(rest, len(piece))
            self.gathering = False
            self.frames -= self.last_frames
            self.taken -= self.last
            self.hold(-self.last)
            self.last = 0
            return True
        finally:
            self.busy = False

    def _resume(self, frame, sent):
        """Count a frame as written, `sent` bytes of it by other means, and queue the rest. Nothing may be pending.

        True if nothing is left.
        """
        cdef bytes data = frame
        cdef Py_ssize_t gone = sent, size = PyBytes_GET_SIZE(data)
        self.enter()
        try:
            if self.held or not 0 <= gone <= size:
                raise ValueError(f"{self.held} bytes are pending, and {sent} of {size} were sent")
            self.accept(size, 1)
            if gone < size:
                self.queue.append(data)
                self.skip = gone
                self.hold(size - gone)
            return gone == size
        finally:
            self.busy = False

    cdef int enter(self) except -1:
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError("FrameWriter.__init__() has not been called")
        if self._error is not None:
            raise self._error._again()
        self.busy = True
        return 0

    cdef int admit(self, Py_ssize_t size, bint single) except -1:
        """Flush what waits; QueueFull if `size` bytes more could be too many. An empty queue takes a single frame."""
        if self.held:
            self.flush_queue()
        if single and not self.held:
            return 0
        if size > self.max_pending - self.held:
            raise QueueFull(size, self.held, self.max_pending)
        return 0

    cdef void accept(self, Py_ssize_t size, Py_ssize_t frames) noexcept:
        self.last = size
        self.last_frames = frames
        self.frames += frames
        self.taken += size

    cdef bint write_parts(self, const uint8_t *data, Py_ssize_t size, object payload) except -1:
        """Send the frame that carries the `size` bytes at `data`, those of `payload`."""
        cdef uint8_t piece[COPIED + 3 * SHORT_LEAD]
        cdef ff_part parts[3]
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t head, total, tail = layout.trailer_size
        if size > layout.limit:
            raise FrameTooLarge(size, layout.limit)
        head = lead_size(layout, size)
        if head < 0:
            return self.write_encoded(payload)
        total = head + size + tail
        self.admit(total, True)
        if size <= COPIED:
            put_frame(layout, data, size, piece)
            ff_part_set(&parts[0], piece, total)
            return self.send_or_queue(parts, 1, None, total)
        put_lead(layout, size, piece)
        ff_part_set(&parts[0], piece, head)
        ff_part_set(&parts[1], data, size)
        ff_part_set(&parts[2], layout.trailer, tail)
        return self.send_or_queue(parts, 3 if tail else 2, payload, total)

    cdef bint write_encoded(self, object payload) except -1:
        """Send a frame whose header the description writes."""
        cdef ff_part parts[3]
        cdef bytes head, tail
        cdef _Input given = None
        head, body, tail = self.plan.framing.parts(payload)
        try:
            given = input_of(body)
            ff_part_set(&parts[0], PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
            ff_part_set(&parts[1], given.data, given.size)
            ff_part_set(&parts[2], PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail))
            total = size_of(parts, 3)
            self.admit(total, True)
            return self.send_or_queue(parts, 3, body, total)
        finally:
            if given is not None:
                given.release()

    cdef bint send_or_queue(
        self, ff_part *parts, int count, object body, Py_ssize_t total, Py_ssize_t frames=1
    ) except -1:
        """Send the parts of a frame, or of some, queue what is left; True if nothing is.

        body: what the second part lies in. An exception before the first byte takes nothing.
        """
        cdef Py_ssize_t sent = 0
        cdef int left = count
        if not self.held:
            try:
                sent = self.transmit(&parts, &left)
            except BaseException:
                if self._error is None and size_of(parts, left) < total:
                    self.accept(total, frames)
                    self.queue_rest(parts, left, body, count - left)
                raise
        self.accept(total, frames)
        if sent == total:
            return self.held == 0
        self.queue_rest(parts, left, body, count - left)
        return False

    cdef bint write_little(self, list items, const Layout *layout, Py_ssize_t total) except -1:
        """Send small frames that make `total` bytes, at most LITTLE, together."""
        cdef uint8_t frames[LITTLE + 2 * SHORT_LEAD]
        cdef uint8_t *end = frames
        cdef ff_part part
        if put_frames(layout, list_items(items), len(items), COPIED, &end, sizeof(frames)) < len(items):
            raise SystemError("the frames have another size than was measured")
        ff_part_set(&part, frames, total)
        return self.send_or_queue(&part, 1, None, total, len(items))

    cdef bint write_items(self, list items) except -1:
        cdef Py_ssize_t total, large = 0
        cdef list frames
        cdef bytes body
        cdef bint encoded = self.plan.layout.kind != FIXED and lead_size(&self.plan.layout, 0) < 0
        if encoded:
            # Not by a comprehension: Cython's frees an item twice that it has no memory to append.
            frames = []
            for body in items:
                frames.append(self.plan.framing.encode(body))
            items = frames
        total = self.measure(items, encoded, &large)
        self.admit(total, False)
        if total <= LITTLE and not large and items and not self.held:
            return self.write_little(items, &whole if encoded else &self.plan.layout, total)
        return self.gather_items(items, encoded, total, large)

    cdef bint gather_items(self, list items, bint encoded, Py_ssize_t total, Py_ssize_t large) except -1:
        """Send the frames of these, which make `total` bytes, gathered; so many of them are large."""
        cdef _Gather gather = _Gather.__new__(_Gather)
        cdef ff_part parts[PARTS]
        gather.writer = self
        gather.parts = parts
        gather.block = new_block(POOLED_SIZE)
        gather.owners = [None] * min(PARTS, 2 * large + 4)
        gather.blocked = self.held > 0
        gather.add(items, encoded)
        gather.ship()
        if gather.refused:
            raise gather.trouble
        self.accept(total, len(items))
        if gather.trouble is not None:
            raise gather.trouble
        return self.held == 0

    cdef Py_ssize_t measure(self, list items, bint encoded, Py_ssize_t *large) except -1:
        """The bytes of their frames, and how many of the payloads are large; raises what is wrong with one."""
        cdef Layout *layout = &self.plan.layout
        cdef PyObject **item = list_items(items)
        cdef Py_ssize_t total = 0, size, i
        for i in range(len(items)):
            large[0] += raw_size(item[i]) >= COPIED
            if encoded:
                total += raw_size(item[i])
                continue
            size = frame_size(layout, raw_size(item[i]))
            if size < 0:
                self.plan.framing.parts(items[i])
                raise SystemError("a payload was refused for no reason")
            total += size
        return total
