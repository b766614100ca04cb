# Payloads, as many at a time as go out together.

cdef enum:
    # A slice ends once it has so many bytes or frames.
    SLICE_BYTES = BUFFER_SIZE
    SLICE_FRAMES = 1024


cdef bytes bytes_of(object payload):
    """The payload as `bytes`: whoever gave it may use the same memory for the next one."""
    return payload if PyBytes_CheckExact(payload) else memoryview(payload).tobytes()


cdef list payloads_of(object payloads):
    """All of them, as `bytes`, in a list that nobody else knows."""
    cdef list items
    cdef Py_ssize_t i
    if type(payloads) is not list:
        items = []
        for payload in payloads:
            items.append(bytes_of(payload))
        return items
    items = payloads[:]
    for i in range(len(items)):
        if not is_bytes(list_items(items)[i]):
            items[i] = bytes_of(items[i])
    return items


cdef class Slices:
    """The payloads of an iterable, in lists of up to 1024 or 256 KiB.

    repeatable: whether it may be iterated over again.
    done: whether all were taken.
    """

    cdef list items  # what they are taken from, from `at` on
    cdef Py_ssize_t at
    cdef object rest  # or an iterator
    cdef readonly bint repeatable
    cdef readonly bint done

    def __init__(self, payloads):
        if type(payloads) is list:
            self.items = payloads
            self.repeatable = True
        else:
            self.rest = iter(payloads)
            self.repeatable = self.rest is not payloads

    def write_to(self, writer):
        """Give the writer's write_many the next slice. What the iterable raises passes, and what was taken is gone."""
        cdef FrameWriter mine
        if type(writer) is not FrameWriter:
            return writer.write_many(self.take())
        mine = writer
        return mine.write_list(self.take())

    cdef list take(self):
        """The next slice, as `bytes`, in a list that nobody else knows."""
        cdef list taken
        cdef Py_ssize_t size = 0
        cdef bytes body
        if self.items is not None:
            return self.take_listed()
        taken = []
        for payload in self.rest:
            body = bytes_of(payload)
            taken.append(body)
            size += PyBytes_GET_SIZE(body)
            if size >= SLICE_BYTES or len(taken) >= SLICE_FRAMES:
                return taken
        self.done = True
        return taken

    cdef list take_listed(self):
        cdef list taken = self.items[self.at : self.at + SLICE_FRAMES]
        cdef PyObject **item = list_items(taken)
        cdef Py_ssize_t count = len(taken), i = 0, size = 0
        while i < count and size < SLICE_BYTES:
            if not is_bytes(item[i]):
                taken[i] = bytes_of(taken[i])
            size += raw_size(item[i])
            i += 1
        if i < count:
            del taken[i:]
        self.at += i
        self.done = i < SLICE_FRAMES and size < SLICE_BYTES
        return taken
