# What Decoder and FrameReader share: undelivered bytes, and the frames in them.

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


cdef class _Stream:
    """Undelivered bytes and the parser's state.

    They lie, in order, in `lead` and `target` while a large frame is on its way, then in
    `block` from `start` to `stop`. A call that is stopped by an exception leaves it in
    `trouble`; `conclude` decides whether it is raised now or after the frames before it.
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
    cdef object trouble
    cdef object deferred
    cdef object _error
    cdef bint raised
    cdef bint ended
    cdef bint busy
    cdef bint single  # deliver one frame a call
    cdef list out  # the frames that this call has to return
    cdef _Window window
    cdef object view
    cdef uint64_t offset
    cdef uint64_t frames
    cdef uint64_t taken
    cdef int errors

    def __dealloc__(self):
        drop_block(self.block)
        Py_XDECREF(self.target)

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} can't be pickled or copied")

    # Calls: one at a time, and none after the stream's error.

    cdef int enter(self) except -1:
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError(f"{type(self).__name__}.__init__() has not been called")
        self.busy = True
        if self.window is not None:
            self.retire()
        return 0

    cdef int check(self) except -1:
        """Raise the error that this stream has ended in."""
        if self.deferred is not None:
            deferred, self.deferred = self.deferred, None
            raise deferred
        if self._error is not None:
            self.raised = True
            self.drop()
            raise self._error._again()
        return 0

    cdef int withdraw(self) except -1:
        """Forget an error that hasn't been raised yet: what is held may be frames of another kind, or none."""
        if self.raised:
            self.check()
        self._error = None
        self.errors = 0
        return 0

    cdef int conclude(self, bint delivered) except -1:
        """Raise what stopped this call, unless it has frames to return."""
        trouble, self.trouble = self.trouble, None
        if trouble is None:
            return 0
        if isinstance(trouble, (InvalidFrame, TruncatedFrame)):
            self._error = trouble
            self.errors = 1
            if delivered:
                return 0
            self.check()
        elif not delivered:
            raise trouble
        elif not isinstance(trouble, Exception):
            # An exception of a signal handler is not swallowed: the next call raises it.
            self.deferred = trouble
        return 0

    # Memory.

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

    cdef int settle(self) except -1:
        """Give back memory that the queued bytes don't need, or that a batch holds."""
        cdef Py_ssize_t held = self.stop - self.start
        if self.block == NULL:
            return 0
        if not held:
            self.start = self.stop = 0
            if self.block.size > 1024 or self.block.refs > 1:
                drop_block(self.block)
                self.block = NULL
        elif self.block.refs > 1 or self.block.size > 2 * held + SLACK:
            self.move(held + 64)
        return 0

    cdef int room(self, Py_ssize_t size) except -1:
        """Put the queue in front of a block of `size` bytes, or of twice its own bytes if that is more."""
        cdef Py_ssize_t held = self.stop - self.start
        if held > size // 2:
            return self.reserve(max(held, SLACK))
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
        cdef bytes lead = PyBytes_FromStringAndSize(<const char *>data, self.span.low)
        cdef PyObject *target = raw_bytes(NULL, min(payload, max(have + room, 64)))
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
        """Begin with the queued frame if it is large."""
        if self.stop > self.start and self.is_large(self.stop - self.start):
            self.start += self.begin_target(self.base(), self.stop - self.start, room)
        return 0

    cdef int grow_target(self, Py_ssize_t room) except -1:
        """Make room for so many bytes more in the target, and for as many again as it has."""
        if raw_size(self.target) < self.payload and raw_size(self.target) - self.filled < room:
            if _PyBytes_Resize(&self.target, min(self.payload, 2 * self.filled + room)) < 0:
                # The object is gone, and the frame with it.
                self.target = NULL
                raise MemoryError
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

    cdef bytes take_target(self):
        """The complete frame in the target; raises if its trailer is wrong."""
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t trailing = layout.trailing
        if layout.trailer_size and memcmp(
            self.base() + trailing - layout.trailer_size, layout.trailer, layout.trailer_size
        ):
            raise layout_error(self.plan, self.raw()[: self.span_total()], self.offset)
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
        self.drop()
        return self.keep(<const uint8_t *>PyBytes_AS_STRING(everything), PyBytes_GET_SIZE(everything))

    # Frames.

    cdef inline void count(self, Py_ssize_t size) noexcept:
        self.frames += 1
        self.taken += size
        self.offset += size

    cdef list hand(self):
        """The frames that this call returns."""
        frames, self.out = self.out, None
        return frames

    cdef int judge(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t at) except -1:
        """Whether the frame `at` bytes behind the stream's position, `size` bytes of it at `data`, is complete."""
        cdef Layout *layout = &self.plan.layout
        cdef Answer answer
        self.known = False
        answer = scan(layout, data, size, self.seen, &self.span)
        if answer >= ASK:
            answer = self.ask(answer, data, size, self.offset + at)
        self.known = answer == FOUND
        self.seen = 0
        if not self.known:
            if layout.kind == DELIMITED or layout.kind == ASKED:
                self.seen = size
            return 0
        if self.span.total > size:
            return 0
        if layout.trailer_size and memcmp(
            data + self.span.total - layout.trailer_size, layout.trailer, layout.trailer_size
        ):
            raise layout_error(
                self.plan, PyBytes_FromStringAndSize(<const char *>data, self.span.total), self.offset + at
            )
        return 1

    cdef Answer ask(self, Answer answer, const uint8_t *data, Py_ssize_t size, uint64_t offset) except *:
        """Let the description judge, or raise the error that it finds."""
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t reach
        framing = self.plan.framing
        try:
            if answer == OPEN:
                if layout.kind == UNTIL_EOF or self.span.total <= size:
                    raise FrameTooLarge(None, framing.limit, getattr(framing, "start", b""))
                reach = min(size - layout.magic_size, layout.mark_size)
                framing._check_open(
                    PyBytes_FromStringAndSize(<const char *>data + size - reach, reach), size - layout.magic_size
                )
                return SHORT
            reach = min(size, framing._reach)
            measured = framing._measure(
                PyBytes_FromStringAndSize(<const char *>data, reach), 0, reach, min(self.seen, reach)
            )
        except InvalidFrame as error:
            first = PyBytes_FromStringAndSize(<const char *>data, min(size, HINT))
            raise error._located(offset, first) from error.__cause__
        if isinstance(measured, int):
            self.span.total = max(<Py_ssize_t>measured, size + 1)
            return SHORT
        self.span.total, self.span.low, self.span.high, self.span.header = measured
        return FOUND

    cdef Py_ssize_t parse(self, const uint8_t *data, Py_ssize_t size, FrameBatch batch):
        """Deliver the complete frames at `data` to `out`, or the batch; returns how many bytes they took.

        With `single`, one frame at most. What stops it early is left in `trouble`.
        """
        cdef Py_ssize_t at = 0, length
        cdef uint64_t before = self.offset
        cdef bytes frame
        try:
            if batch is None and self.plan.layout.plain and not self.single and not self.seen:
                self.parse_plain(data, size, &at)
            while at < size and self.judge(data + at, size - at, at):
                length = self.span.high - self.span.low
                if batch is not None:
                    batch.add(at + self.span.low, length, (size - at) // self.span.total)
                else:
                    frame = PyBytes_FromStringAndSize(<const char *>data + at + self.span.low, length)
                    self.out.append(frame)
                at += self.span.total
                self.frames += 1
                if self.single:
                    break
        except BaseException as error:
            self.trouble = error
            self.known = False
            self.seen = 0
        if at:
            self.known = self.known and at < size and not self.single
        self.offset = before + at
        self.taken += at
        return at

    cdef int parse_plain(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t *used) except -1:
        """Deliver frames while they are complete and nothing is odd about their lengths."""
        cdef Layout *layout = &self.plan.layout
        # Constants here make three loops of one.
        if layout.width != 4:
            return self.parse_fields(data, size, used, layout.width, layout.big_endian)
        if layout.big_endian:
            return self.parse_fields(data, size, used, 4, True)
        return self.parse_fields(data, size, used, 4, False)

    cdef inline int parse_fields(
        self, const uint8_t *data, Py_ssize_t size, Py_ssize_t *used, int width, bint big_endian
    ) except -1:
        """The hot loop."""
        cdef Layout *layout = &self.plan.layout
        cdef Py_ssize_t at = 0, total, strip = layout.strip, offset = layout.offset
        cdef Py_ssize_t last = size - offset - width
        cdef uint64_t length, low = layout.low, count = layout.count
        cdef uint64_t base = <uint64_t>layout.adjustment + <uint64_t>layout.header
        cdef Py_ssize_t made = 0, places = -1
        cdef int failed = 0
        cdef list frames = self.out
        cdef PyObject **place = NULL
        cdef PyObject *frame
        while at <= last:
            length = load(data + at + offset, width, big_endian)
            if length - low >= count:
                break
            total = <Py_ssize_t>(length + base)
            if total > size - at:
                break
            if places < 0:
                # As many places as frames like the first one fill. Nobody else sees the list while some are empty.
                places = min((size - at) // total, PLACES) if not frames else 0
                if places:
                    self.out = frames = new_list(places)
                    place = list_items(frames)
            frame = ff_bytes(data + at + strip, total - strip)
            if frame == NULL:
                failed = -1
                break
            if made < places:
                place[made] = frame
            else:
                failed = append(frames, frame)
                Py_XDECREF(frame)
                if failed:
                    break
            at += total
            made += 1
        if made < places:
            cut(frames, made, places, NULL)
        self.frames += made
        used[0] = at
        return failed

    cdef FrameBatch batch_queued(self):
        """The complete frames of the queue as a batch, which takes the queue's block along."""
        cdef FrameBatch batch = new_batch(None, self.block, self.base(), self.stop - self.start)
        self.start += self.parse(batch.data, batch.size, batch)
        if not batch.count:
            drop_block(batch.block)
            batch.block = NULL
            batch.size = 0
        self.settle()
        self.conclude(batch.count > 0)
        return batch

    cdef bytes next_frame(self):
        """The first undelivered frame, or None if it isn't complete; raises what is wrong with it."""
        cdef bytes frame = None
        cdef list found
        if self.target != NULL:
            if not self.target_done():
                return None
            try:
                return self.take_target()
            except BaseException as error:
                self.trouble = error
        elif self.stop > self.start:
            try:
                if self.judge(self.base(), self.stop - self.start, 0):
                    frame = PyBytes_FromStringAndSize(
                        <char *>self.base() + self.span.low, self.span.high - self.span.low
                    )
                    self.start += self.span.total
                    self.count(self.span.total)
                    self.known = False
            except BaseException as error:
                self.trouble = error
                self.seen = 0
        self.conclude(False)
        return frame

    cdef list finish(self):
        """The frames that the end of the stream makes of what is left; what is wrong with it goes to `trouble`."""
        cdef bytes rest = self.raw()
        framing = self.plan.framing
        try:
            frames = framing._finish(rest)
            if frames is None:
                if self.target != NULL:
                    self.span.total = self.span_total()
                    self.known = True
                elif self.judge(<const uint8_t *>PyBytes_AS_STRING(rest), len(rest), 0):
                    raise SystemError("a complete frame was left over")
                measured = self.span.total
                if self.known:
                    measured = (self.span.total, self.span.low, self.span.high, self.span.header)
                raise framing._truncated(rest, self.offset, measured)
        except InvalidFrame as error:
            self.trouble = error if error.offset is not None else error._located(self.offset, rest[:HINT])
            return []
        except BaseException as error:
            self.trouble = error
            return []
        self.drop()
        self.ended = True
        for _ in frames:
            self.frames += 1
            self.taken += len(rest)
        self.offset += len(rest)
        return frames

    cdef int retire(self) except -1:
        """Take the memory that get_buffer lent back; what is still in use stays with its user."""
        cdef _Window window = self.window
        view, self.view, self.window = self.view, None, None
        try:
            view.release()
        except BufferError:
            pass
        if window.owner is not None and window.exports:
            # Its user could change the payload after it is delivered: go on with a copy.
            self.untarget()
        return 0

    @property
    def framing(self):
        """The description of the frames. Assigning parses every byte anew that isn't delivered yet."""
        return None if self.plan is None else self.plan.framing

    @framing.setter
    def framing(self, framing):
        cdef _Plan plan = plan_of(framing)
        self.enter()
        try:
            self.withdraw()
            self.untarget()
            self.plan = plan
            self.seen = 0
            self.known = False
        finally:
            self.busy = False

    @framing.deleter
    def framing(self):
        raise AttributeError("the framing of a stream can't be deleted")

    @property
    def needed(self):
        """Bytes still missing: to the end of the header, then of the frame; 1 if unknown, 0 after an error."""
        if self._error is not None or self.ended:
            return 0
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError(f"{type(self).__name__}.__init__() has not been called")
        self.busy = True
        try:
            return self.missing()
        except InvalidFrame:
            return 0
        finally:
            self.busy = False

    cdef Py_ssize_t missing(self) except -1:
        """`needed`; raises what is wrong with the frame."""
        cdef Py_ssize_t held = self.stop - self.start
        if self.target != NULL:
            return self.payload - self.filled + max(0, self.plan.layout.trailing - held)
        if self.judge(self.base(), held, 0):
            return 0
        if self.known and held < self.span.header:
            return self.span.header - held
        return self.span.total - held

    @property
    def buffered(self):
        """Undelivered bytes held, headers included."""
        cdef Py_ssize_t held = self.stop - self.start
        return held if self.target == NULL else held + PyBytes_GET_SIZE(self.lead) + self.filled

    def unread(self):
        """Give back all undelivered bytes, as bytes, and forget them: for a change of protocol."""
        self.enter()
        try:
            self.withdraw()
            data = self.raw()
            self.drop()
            self.offset += len(data)
            return data
        finally:
            self.busy = False

    @property
    def error(self):
        """The FrameError that this stream has ended in, or None."""
        return self._error

    @property
    def stats(self):
        """Stats(frames, bytes, errors): delivered so far."""
        return Stats(self.frames, self.taken, self.errors)


cdef object layout_error(_Plan plan, bytes frame, uint64_t offset):
    return plan.framing._bad_trailer(frame, offset)


cdef class _Input:
    """The bytes of an argument, in a row, held while they are used."""

    cdef Py_buffer view
    cdef bint held
    cdef bytes copy
    cdef const uint8_t *data
    cdef Py_ssize_t size

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef void release(self) noexcept:
        if self.held:
            self.held = False
            PyBuffer_Release(&self.view)


cdef _Input input_of(object data):
    """The bytes of any buffer; those that don't lie in a row are copied. TypeError for what isn't a buffer."""
    cdef _Input given = _Input.__new__(_Input)
    if PyBytes_CheckExact(data):
        given.copy = data
    else:
        try:
            PyObject_GetBuffer(data, &given.view, PyBUF_SIMPLE)
            given.held = True
        except BufferError:
            given.copy = memoryview(data).tobytes()
    if given.held:
        given.size = given.view.len
        given.data = <const uint8_t *>given.view.buf if given.size else nothing
    else:
        given.size = PyBytes_GET_SIZE(given.copy)
        given.data = <const uint8_t *>PyBytes_AS_STRING(given.copy)
    return given
