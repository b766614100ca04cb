# Which descriptors are ready, on Linux: select.epoll makes a list of it, a tuple and two numbers for each.

cdef enum:
    # Events to ask for in one call.
    EVENTS = 128
    # In milliseconds, a wait that is for ever to whoever waits.
    LONG = 1000000000


@cython.final
@cython.internal
@cython.no_gc
cdef class _Epoll:
    """As Epoll of _readiness.py; the events stay here."""

    cdef int fd
    cdef int at  # the next event to look at
    cdef int count
    cdef ff_event found[EVENTS]

    def __cinit__(self):
        cdef int error
        self.fd = ff_epoll_create()
        if self.fd < 0:
            error = ff_last_error()
            raise OSError(error, strerror(error))

    def __dealloc__(self):
        self.close()

    def watch(self, int number, int wants, int before):
        """Wait for what `wants` says on this descriptor from now on; `before`: for what until now, 0 for nothing."""
        cdef int error
        self.check()
        if ff_epoll_watch(self.fd, number, wants, before) < 0:
            error = ff_last_error()
            raise OSError(error, strerror(error))

    def fileno(self):
        """Can be read when one of them is ready."""
        self.check()
        return self.fd

    cpdef close(self):
        """Forget all of them."""
        if self.fd >= 0:
            ff_epoll_close(self.fd)
        self.fd = -1
        self.at = self.count = 0

    cdef int check(self) except -1:
        if self.fd < 0:
            raise ValueError("the poller is closed")
        return 0

    cdef int wait(self, timeout) except -1:
        """Wait for so many seconds at most, None for ever, until there are events. Signal handlers don't extend it."""
        cdef int milliseconds = -1, got, error
        cdef double left = -1, deadline = 0
        if timeout is not None:
            left = timeout
            if left != left:
                raise ValueError("the timeout is not a number")
        if left > 0:
            deadline = monotonic() + left
        while True:
            self.check()
            if left >= 0:
                milliseconds = <int>min(left * 1000 + 0.999, LONG)  # rounded up, as it would only wait again
            if milliseconds:
                with nogil:
                    got = ff_epoll_wait(self.fd, self.found, EVENTS, milliseconds)
                    error = ff_last_error() if got < 0 else 0
            else:
                got = ff_epoll_wait(self.fd, self.found, EVENTS, 0)
                error = ff_last_error() if got < 0 else 0
            if got >= 0:
                self.at = 0
                self.count = got
                return 0
            if not ff_interrupted(error):
                raise OSError(error, strerror(error))
            PyErr_CheckSignals()
            if left > 0:
                left = max(deadline - monotonic(), 0)
