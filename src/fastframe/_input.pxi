# What callers give.

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
