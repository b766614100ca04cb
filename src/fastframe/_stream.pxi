# What Decoder and FrameReader share: the frames in a queue of bytes.

cdef list with_places(list frames, Py_ssize_t begun, Py_ssize_t places):
    """A list that begins with these, so many, and has empty places behind them."""
    cdef Py_ssize_t i
    cdef list longer = new_list(begun + places)
    for i in range(begun):
        Py_XINCREF(list_items(frames)[i])
        list_items(longer)[i] = list_items(frames)[i]
    return longer


cdef class _Stream(_Queue):
    """The calls and the parser over a queue.

    A call that is stopped by an exception leaves it in `trouble`; `conclude` decides whether
    it is raised now or after the frames before it.
    """

    cdef object trouble
    cdef object broken  # a MemoryError that has cost bytes of this stream
    cdef object _error
    cdef bint raised
    cdef bint ended
    cdef bint busy
    cdef bint quiet  # nothing was called since an iteration's last step
    cdef bint single  # deliver one frame a call
    cdef list out  # frames to return, by this call or, if an exception came between, by the next
    cdef _Window window
    cdef object view
    cdef int errors

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} can't be pickled or copied")

    # Calls: one at a time, and none after the stream's error.

    cdef int enter(self) except -1:
        if self.busy:
            raise ConcurrentUse()
        if self.plan is None:
            raise TypeError(f"{type(self).__name__}.__init__() has not been called")
        if self.window is not None:
            self.retire()
        self.busy = True
        self.quiet = False
        self.trouble = None
        return 0

    cdef int check(self) except -1:
        """Raise the error that this stream has ended in."""
        if self.out:
            return 0
        if self.broken is not None:
            self.drop()
            raise self.broken
        if self._error is not None:
            self.raised = True
            self.drop()
            raise self._error._again()
        return 0

    cdef int withdraw(self) except -1:
        """Forget an error that hasn't been raised yet: what is held may be frames of another kind, or none."""
        if type(self._error) is ConnectionClosed:
            return 0
        if self.raised:
            self.check()
        self._error = None
        self.errors = 0
        return 0

    cdef int begin(self) except -1:
        """Begin a call that delivers to `out`."""
        self.check()
        self.collect()
        return 0

    cdef inline int collect(self) except -1:
        """Have a list for frames."""
        if self.out is None:
            self.out = []
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
        elif not delivered or not isinstance(trouble, Exception):
            # A signal handler's exception isn't kept back: the frames wait in `out` for the next call.
            raise trouble
        return 0

    # Frames.

    cdef list hand(self):
        """The frames that this call returns."""
        cdef list frames = self.out
        self.out = None
        return [] if frames is None else frames

    cdef int judge(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t at) except -1:
        """Whether the frame `at` bytes behind the stream's position, `size` bytes of it at `data`, is complete."""
        cdef Layout *layout = &self.plan.layout
        cdef Answer answer
        if self.known and not at and size < self.span.total:
            return 0
        self.known = False
        answer = scan(layout, data, size, self.seen, &self.span)
        if answer >= ASK:
            answer = self.ask(answer, data, size, self.offset + at)
        self.known = answer == FOUND
        self.seen = 0
        if not self.known:
            if layout.kind in (DELIMITED, HEADED, ASKED):
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
            if self.plan.layout.plain and not self.single and not self.seen:
                if batch is None:
                    self.parse_plain(data, size, &at)
                else:
                    try:
                        batch.fill(&self.plan.layout, &at)
                    finally:
                        self.frames += batch.count
            while at < size and self.judge(data + at, size - at, at):
                length = self.span.high - self.span.low
                if batch is not None:
                    batch.add(at + self.span.low, length, (size - at) // self.span.total)
                else:
                    self.collect()
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
        cdef Py_ssize_t made = 0, places = -1, begun = 0
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
                begun = len(frames) if frames else 0
                places = min((size - at) // total, PLACES)
                self.out = frames = with_places(frames, begun, places)
                place = list_items(frames) + begun
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
            ff_list_cut(frames, begun + made)
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
        self.conclude_batch(batch)
        return batch

    cdef int conclude_batch(self, FrameBatch batch) except -1:
        """As `conclude`; the frames of a batch that can't be returned wait in `out`."""
        try:
            self.conclude(batch.count > 0)
        except BaseException:
            if batch.count:
                self.out = list(batch)
            raise
        return 0

    cdef FrameBatch batch_out(self):
        """The first of the frames that wait in `out`, as a batch."""
        frame = self.out.pop(0)
        if not self.out:
            self.out = None
        return self.batch_of(frame)

    cdef FrameBatch batch_of(self, bytes frame):
        """A batch of this one frame, or of none."""
        if frame is None:
            return new_batch(None, NULL, nothing, 0)
        cdef FrameBatch batch = new_batch(
            frame, NULL, <const uint8_t *>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)
        )
        batch.add(0, batch.size, 1)
        return batch

    cdef int deliver_target(self) except -1:
        """Deliver the complete frame in the target."""
        try:
            # Its place first: once taken it must not get lost.
            self.collect()
            self.out.append(None)
            try:
                self.out[len(self.out) - 1] = self.take_target()
            except BaseException:
                self.out.pop()
                raise
        except BaseException as error:
            self.trouble = error
        return 0

    cdef bytes next_frame(self):
        """The first undelivered frame, or None if it isn't complete; raises what is wrong with it."""
        cdef bytes frame = None
        if self.out:
            frame = self.out.pop(0)
            return frame
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

    cdef int finish(self) except -1:
        """Put out the frames that the end of the stream makes of what is left; what is wrong goes to `trouble`."""
        cdef bytes rest = self.raw()
        cdef list frames
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
                self.trouble = framing._truncated(rest, self.offset, measured)
                return 0
        except InvalidFrame as error:
            self.trouble = error if error.offset is not None else error._located(self.offset, rest[:HINT])
            return 0
        self.out = frames if self.out is None else self.out + frames
        self.drop()
        self.ended = True
        for _ in frames:
            self.frames += 1
            self.taken += len(rest)
        self.offset += len(rest)
        return 0

    cdef int retire(self) except -1:
        """Take the memory that get_buffer lent back; what is still in use stays with its user."""
        cdef _Window window = self.window
        if self.view is not None:
            try:
                self.view.release()
            except BufferError:
                pass
        if window.exports:
            # Its user could change a payload after it is delivered: go on with a copy.
            if window.owner is not None:
                self.untarget()
        else:
            window.close()
        self.view = self.window = None
        return 0

    @property
    def framing(self):
        """What a frame looks like. Assignable: every byte not yet delivered is parsed anew, from the last boundary.

        Assigning raises TypeError for what isn't a Framing, ConcurrentUse, and the error that the stream has ended in;
        one that hasn't been raised yet is withdrawn.
        """
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
        """Bytes still missing: to the end of the header, then of the frame; 1 if unknown.

        0 if a complete frame waits for `pop()` or `read_one()`, after an error, and after the end. Raises
        ConcurrentUse if bytes that nobody has looked at would have to be measured, and what a Computed's function
        raises.
        """
        if self._error is not None or self.ended or self.out:
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
        """Bytes held: what isn't delivered yet, headers included."""
        cdef Py_ssize_t held = self.stop - self.start
        if self.target == NULL or self.lead is None:
            return held
        return held + PyBytes_GET_SIZE(self.lead) + self.filled

    def unread(self, size=None):
        """The bytes held, which are forgotten: for an upgrade to another protocol.

        size: only the first so many; ValueError if fewer are held.

        An error that hasn't been raised yet is withdrawn: these bytes were simply not frames. b"" after a clean
        end. Raises the error that the stream has ended in, ConcurrentUse.
        """
        cdef Py_ssize_t count = 0
        cdef bytes data
        if size is not None:
            count = operator_index(size)
        self.enter()
        try:
            self.withdraw()
            if size is None:
                data = self.raw()
                self.drop()
                self.offset += len(data)
                return data
            self.untarget()
            if not 0 <= count <= self.stop - self.start:
                raise ValueError(f"{count} bytes can't be taken of {self.stop - self.start}")
            data = PyBytes_FromStringAndSize(<char *>self.base(), count)
            self.start += count
            self.offset += count
            self.seen = 0
            self.known = False
            self.settle()
            return data
        finally:
            self.busy = False

    @property
    def error(self):
        """The error this stream has ended in, or None.

        It is here at once, even if a call that returned frames has yet to raise it.
        """
        return self._error

    @property
    def stats(self):
        """Frames delivered, their bytes on the wire, and errors (0 or 1) so far."""
        return Stats(self.frames, self.taken, self.errors)
