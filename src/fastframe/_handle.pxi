# A descriptor, or what stands for one, and the wait for it.

cdef enum:
    # A socket takes or gives fewer bytes than these in less time than it takes to let other threads run, and come back.
    SWIFT = 20480


cdef class _Handle:
    """A descriptor that belongs to somebody else, and how it is read and written without waiting."""

    cdef ff_fd fd
    cdef bint is_socket
    cdef bint blocking  # only Windows asks
    cdef object owner
    cdef object channel  # where there is no descriptor to read and write


cdef _Handle handle_of(object source):
    """The descriptor of an int or of an object with fileno(); TypeError or ValueError if it can't carry frames."""
    cdef _Handle handle = _Handle.__new__(_Handle)
    cdef int kind
    if isinstance(source, Channel):
        handle.fd = -1
        handle.owner = handle.channel = source
        return handle
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(source, ssl.SSLSocket):
        raise TypeError("a descriptor doesn't decrypt: give an SSLSocket to fastframe.wrap")
    if isinstance(source, bool):
        raise TypeError("a descriptor must be an int, not a bool")
    fd = source if isinstance(source, int) else getattr(source, "fileno", None)
    if fd is None:
        raise TypeError(f"a descriptor or an object with fileno() is needed, not {type(source).__name__}")
    if not isinstance(fd, int):
        fd = operator_index(fd())
    if not 0 <= fd <= 0x7FFFFFFF:
        raise ValueError(f"the descriptor {fd} is not open")
    kind = ff_socket_type(fd)
    if kind < 0:
        raise ValueError(f"the descriptor {fd} is not open")
    if kind > 1:
        raise TypeError("a datagram socket has no stream to frame")
    handle.fd = fd
    handle.is_socket = kind != 0
    timeout = getattr(source, "gettimeout", None)
    handle.blocking = timeout is None or timeout() is None
    handle.owner = source
    if kind:
        ff_prepare(handle.fd)
    return handle


def wait(fd, for_write, timeout, other=-1):
    """Wait until the descriptor is readable, or writable, or has an error: True; False once the time is over.

    timeout: in seconds; None waits for ever, 0 doesn't wait. ValueError if it is negative or NaN.
    other: a second descriptor, which ends the wait once it is readable. -1: none.

    Signal handlers run, and what they raise passes; the time is monotonic, and they don't extend it.
    """
    cdef ff_fd number
    cdef int direction = bool(for_write), milliseconds = -1, ready, error, second = other
    cdef double deadline = 0, left = 0
    fd = operator_index(fd)
    if not 0 <= fd <= 0x7FFFFFFF:
        raise ValueError(f"the descriptor {fd} is not open")
    number = fd
    if timeout is not None:
        left = timeout
        if not left >= 0:
            raise ValueError(f"timeout must be None or at least 0 seconds, not {timeout}")
        deadline = monotonic() + left
    while True:
        if timeout is not None:
            # Rounded up: waking before the deadline would only mean to wait again.
            milliseconds = <int>min(left * 1000 + 0.999, 1e9)
        with nogil:
            ready = ff_wait(number, direction, milliseconds, second)
            error = ff_last_error() if ready < 0 else 0
        if ready > 0:
            return True
        if ready < 0 and not ff_interrupted(error):
            raise OSError(error, strerror(error))
        PyErr_CheckSignals()
        if timeout is not None:
            left = deadline - monotonic()
            if left <= 0:
                if ready == 0:
                    return False
                left = 0
