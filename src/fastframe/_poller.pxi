# Many descriptors at once.

cdef enum:
    # Descriptors to receive from before anything is done about it: what came is still in the processor's cache then.
    AT_ONCE = 64
    COMES = 1  # READ of _readiness.py


@cython.final
cdef class _Watched:
    """A descriptor."""

    cdef object target
    cdef FrameReader reader
    cdef int wants
    cdef double active


cdef class Poller:
    """Watches descriptors, and receives what comes on them.

    clock: gives the time, once a call; `now` is what it gave.
    most: so many frames of one descriptor are nothing to look at.

    Not for more than one thread at a time.
    """

    cdef object clock
    cdef object readiness
    cdef _Epoll epoll  # that, if it is one
    cdef list watched  # by their numbers, which are small
    cdef list events  # of another
    cdef Py_ssize_t at  # the next one to look at
    cdef Py_ssize_t most
    cdef list ready
    cdef double time

    def __init__(self, clock, most):
        if self.readiness is not None:
            raise TypeError("Poller.__init__() has been called already")
        self.most = operator_index(most)
        self.time = clock()
        self.clock = clock
        self.watched = []
        self.events = []
        self.ready = []
        if FF_EPOLL:
            self.epoll = _Epoll()
        self.readiness = readiness() if self.epoll is None else self.epoll

    @property
    def now(self):
        """The time, as of the last call of `poll`."""
        return self.time

    def watch(self, target, number, wants):
        """Wait for READ, WRITE, or both on this descriptor; 0: for nothing. OSError if the system can't."""
        cdef Py_ssize_t place = number
        cdef _Watched watched = self.at_number(place)
        if place < 0:
            raise ValueError(f"the descriptor {number} is not open")
        if watched is None or watched.target is not target:
            watched = _Watched.__new__(_Watched)
            watched.target = target
        while len(self.watched) <= place:
            self.watched.append(None)
        if wants != watched.wants:
            self.readiness.watch(number, wants, watched.wants)
        watched.wants = wants
        self.watched[place] = watched

    def fileno(self):
        """A descriptor that can be read when one of those watched is ready: for another loop to watch."""
        return self.readiness.fileno()

    def receive(self, number, FrameReader reader):
        """If something can be received on it, and no more is to be told, have this reader read. None: only tell.

        While it is `_patient`, it is only told.
        """
        self.known(number).reader = reader

    def forget(self, target, number):
        """The descriptor is about to be closed, or is somebody else's by now."""
        cdef Py_ssize_t place = number
        cdef _Watched watched = self.at_number(place)
        if watched is not None and watched.target is target:
            self.watched[place] = None
            if watched.wants:
                try:
                    self.readiness.watch(number, 0, watched.wants)
                except OSError:
                    pass  # somebody has closed it

    def active(self, number):
        """When something was last received on it by `poll`, on the clock given; 0: never."""
        return self.known(number).active

    def poll(self, timeout):
        """Wait for so many seconds at most, None for ever. Gives, for each descriptor that is ready, its target and:

            frames, 0       what was read, and there is nothing else to look at
            frames, 1       what was read, perhaps []: more than `most`, or bytes are held behind them, or an error
            Exception, 1    what reading has raised
            None, event     it isn't read here: READ, WRITE or other bits

        Those that are many come in several calls, of which only the first waits. An exception of a signal
        handler loses nothing.
        """
        cdef _Watched watched
        cdef FrameReader reader
        cdef Py_ssize_t number = 0
        cdef int event = 0
        cdef list frames
        if not self.is_left():
            self.wait(timeout)
        self.time = self.clock()
        while len(self.ready) < AT_ONCE and self.next(&number, &event):
            watched = self.at_number(number)
            if watched is None:
                continue  # closed since then
            reader = watched.reader
            if reader is None or event != COMES or reader._patient:
                self.ready.append((watched.target, None, event))
                continue
            watched.active = self.time
            try:
                frames = reader.take()
            except Exception as error:
                self.ready.append((watched.target, error, 1))
            else:
                self.ready.append((watched.target, frames, self.is_odd(reader, frames)))
        ready, self.ready = self.ready, []
        return ready

    cdef bint is_left(self) noexcept:
        """Whether there are events that nobody has looked at."""
        if self.epoll is not None:
            return self.epoll.at < self.epoll.count
        return self.at < len(self.events)

    cdef int wait(self, timeout) except -1:
        """Wait for events."""
        if self.epoll is not None:
            return self.epoll.wait(timeout)
        self.events = self.readiness.poll(timeout)
        self.at = 0
        return 0

    cdef bint next(self, Py_ssize_t *number, int *event) except -1:
        """The next event; whether there is one."""
        cdef ff_event *found
        cdef tuple told
        if not self.is_left():
            return False
        if self.epoll is not None:
            found = &self.epoll.found[self.epoll.at]
            self.epoll.at += 1
            number[0] = ff_event_number(found)
            event[0] = ff_event_bits(found)
            return True
        told = self.events[self.at]
        self.at += 1
        number[0] = told[0]
        event[0] = told[1]
        return True

    cdef inline _Watched at_number(self, Py_ssize_t number):
        """What is watched there, or None."""
        return <_Watched>self.watched[number] if 0 <= number < len(self.watched) else None

    cdef _Watched known(self, number):
        """What is watched there. KeyError: nothing is."""
        cdef _Watched watched = self.at_number(number)
        if watched is None:
            raise KeyError(number)
        return watched

    cdef int is_odd(self, FrameReader reader, list frames) noexcept:
        """Whether there is more to see to than these frames."""
        if reader._error is not None or reader.stop > reader.start or reader.target != NULL:
            return 1
        return not 0 < len(frames) <= self.most

    def close(self):
        """Forget all of them."""
        self.watched.clear()
        self.events = []
        self.at = 0
        self.ready.clear()
        self.readiness.close()
