# Blocks of memory, what lends them out, and frames that aren't objects yet.

ctypedef struct Block:
    # Memory shared by a stream and the batches cut from it; only ever touched with the GIL.
    Py_ssize_t refs
    Py_ssize_t size

cdef enum:
    # What one call asks the kernel for, or gives it.
    BUFFER_SIZE = 262144
    # A block for that, with room for what a call left behind, or for headers. Such are kept for the next reader, as
    # many as one batch read while the last is held needs: two of bytes, and two that tell where their frames are.
    POOLED_SIZE = BUFFER_SIZE + 16384
    POOL = 4

cdef Block *pool[POOL]
cdef int pooled = 0


cdef inline uint8_t *memory(Block *block) noexcept:
    return <uint8_t *>(block + 1)


cdef Block *new_block(Py_ssize_t size) except NULL:
    """A block of at least `size` bytes, with one reference."""
    global pooled
    cdef Block *block
    if BUFFER_SIZE <= size <= POOLED_SIZE:
        size = POOLED_SIZE
    if size == POOLED_SIZE and pooled:
        pooled -= 1
        block = pool[pooled]
    else:
        if size == POOLED_SIZE:
            ff_prime()  # many frames of a few hundred bytes, freed together, are as much as a large one
        block = <Block *>PyMem_RawMalloc(sizeof(Block) + size)
        if block == NULL:
            raise MemoryError
        block.size = size
    block.refs = 1
    return block


cdef void drop_block(Block *block) noexcept:
    """Give one reference back; NULL is allowed."""
    global pooled
    if block == NULL:
        return
    block.refs -= 1
    if block.refs:
        return
    if block.size == POOLED_SIZE and pooled < POOL:
        pool[pooled] = block
        pooled += 1
    else:
        PyMem_RawFree(block)


@cython.final
@cython.internal
@cython.no_gc
cdef class _Window:
    """Memory lent out through the buffer protocol; it lives as long as a view of it."""

    cdef object owner
    cdef Block *block
    cdef uint8_t *data
    cdef Py_ssize_t size
    cdef Py_ssize_t stride
    cdef Py_ssize_t count
    cdef bint writable
    cdef int exports

    def __dealloc__(self):
        drop_block(self.block)

    cdef void close(self) noexcept:
        """Lend nothing any more, while nobody looks."""
        drop_block(self.block)
        self.block = NULL
        self.owner = None
        self.data = <uint8_t *>&self.stride
        self.size = self.count = 0
        self.writable = False

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE and not self.writable:
            raise BufferError("this memory is read-only")
        view.buf = self.data
        view.obj = self
        view.len = self.size
        view.itemsize = self.stride
        view.readonly = not self.writable
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = b"q" if self.stride == 8 else b"B"
        view.ndim = 1
        view.shape = &self.count
        view.strides = &self.stride
        view.suboffsets = NULL
        view.internal = NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


cdef _Window window_of(object owner, Block *block, void *data, Py_ssize_t size, int stride, bint writable):
    cdef _Window window = _Window.__new__(_Window)
    window.owner = owner
    window.block = block
    if block != NULL:
        block.refs += 1
    window.data = <uint8_t *>data if size else <uint8_t *>&window.stride
    window.size = size
    window.stride = stride
    window.count = size // stride
    window.writable = writable
    return window


@cython.final
@cython.no_gc
cdef class FrameBatch:
    """A sequence of frames that have not been made into objects yet.

    `len`, iteration and indexing give `bytes`, a slice gives a list of them. All of it stays
    valid as long as the batch, or anything it gave, is held, whatever the reader or decoder does
    next; it holds the whole chunk that its frames lie in, and no other.
    A batch can't be made, copied or pickled: it comes from `feed_batch` or `read_batch`.
    """

    cdef object owner
    cdef Block *block
    cdef const uint8_t *data
    cdef Py_ssize_t size
    cdef Block *index  # has room for so many starts, and behind them for as many sizes
    cdef int64_t *starts
    cdef int64_t *sizes
    cdef Py_ssize_t count
    cdef Py_ssize_t room

    def __init__(self):
        raise TypeError("a FrameBatch comes from feed_batch, read_batch or recv_batch")

    def __dealloc__(self):
        drop_block(self.block)
        drop_block(self.index)

    cdef int widen(self, Py_ssize_t expected) except -1:
        """Make room in the index for `expected` frames more, as far as that is likely to be used."""
        cdef Py_ssize_t room = self.count + max(self.count, min(expected, 4096)) + 8
        # Many frames are counted in a block that is kept: a fresh one would cost its pages anew for every batch.
        cdef Block *fresh = new_block(POOLED_SIZE if 4096 <= room <= POOLED_SIZE // 16 else 16 * room)
        room = fresh.size // 16
        if self.count:
            memcpy(memory(fresh), self.starts, self.count * sizeof(int64_t))
            memcpy(memory(fresh) + room * sizeof(int64_t), self.sizes, self.count * sizeof(int64_t))
            drop_block(self.index)
        self.index = fresh
        self.starts = <int64_t *>memory(fresh)
        self.sizes = self.starts + room
        self.room = room
        return 0

    cdef int add(self, Py_ssize_t start, Py_ssize_t size, Py_ssize_t expected) except -1:
        """Add the frame at `start`; `expected` more like it may follow."""
        if self.count == self.room:
            self.widen(expected)
        self.starts[self.count] = start
        self.sizes[self.count] = size
        self.count += 1
        return 0

    cdef int fill(self, const Layout *layout, Py_ssize_t *used) except -1:
        """Add frames while they are complete and nothing is odd about their lengths; `used` bytes had them."""
        # Constants here make three loops of one.
        if layout.width != 4:
            return self.fill_fields(layout, used, layout.width, layout.big_endian)
        if layout.big_endian:
            return self.fill_fields(layout, used, 4, True)
        return self.fill_fields(layout, used, 4, False)

    cdef inline int fill_fields(self, const Layout *layout, Py_ssize_t *used, int width, bint big_endian) except -1:
        cdef const uint8_t *data = self.data
        cdef Py_ssize_t at = used[0], total, made = self.count, room = self.room
        cdef Py_ssize_t strip = layout.strip, offset = layout.offset, last = self.size - offset - width
        cdef uint64_t length, low = layout.low, count = layout.count
        cdef uint64_t base = <uint64_t>layout.adjustment + <uint64_t>layout.header
        cdef int64_t *starts = self.starts
        cdef int64_t *sizes = self.sizes
        while at <= last:
            length = load(data + at + offset, width, big_endian)
            if length - low >= count:
                break
            total = <Py_ssize_t>(length + base)
            if total > self.size - at:
                break
            if made == room:
                self.count = made
                used[0] = at
                self.widen((self.size - at) // total)
                room, starts, sizes = self.room, self.starts, self.sizes
            starts[made] = at + strip
            sizes[made] = total - strip
            at += total
            made += 1
        self.count = made
        used[0] = at
        return 0

    cdef bytes frame(self, Py_ssize_t index):
        return PyBytes_FromStringAndSize(<const char *>self.data + self.starts[index], self.sizes[index])

    def __len__(self):
        return self.count

    def __iter__(self):
        # Not a generator: each of Cython's leaves a reference to its type behind.
        cdef _Payloads payloads = _Payloads.__new__(_Payloads)
        payloads.batch = self
        return payloads

    def __getitem__(self, index):
        cdef Py_ssize_t i
        cdef list frames
        if isinstance(index, slice):
            frames = []  # not by a comprehension, as in the writer
            for i in range(*index.indices(self.count)):
                frames.append(self.frame(i))
            return frames
        i = operator_index(index)
        if i < 0:
            i += self.count
        if i < 0 or i >= self.count:
            raise IndexError("batch index out of range")
        return self.frame(i)

    def __reduce__(self):
        raise TypeError("a FrameBatch can't be pickled or copied: list() makes its frames into objects")

    def __repr__(self):
        return f"<FrameBatch of {self.count} frames>"

    def views(self):
        """The frames as objects with `len`, `bytes()`, `memoryview()` and `==` that don't copy."""
        cdef _Views views = _Views.__new__(_Views)
        views.batch = self
        return views

    @property
    def buffer(self):
        """The bytes in which `offsets` and `lengths` tell where the frames are: read-only, format "B"."""
        if self.owner is not None:
            return memoryview(self.owner)
        return memoryview(window_of(self, NULL, <void *>self.data, self.size, 1, False))

    @property
    def offsets(self):
        """Where each frame starts in `buffer`, in bytes: read-only, format "q" (int64)."""
        return memoryview(window_of(self, NULL, self.starts, self.count * 8, 8, False))

    @property
    def lengths(self):
        """The size of each frame in bytes: read-only, format "q" (int64)."""
        return memoryview(window_of(self, NULL, self.sizes, self.count * 8, 8, False))


@cython.final
@cython.internal
cdef class _Payloads:
    cdef FrameBatch batch
    cdef Py_ssize_t next

    def __iter__(self):
        return self

    def __length_hint__(self):
        return self.batch.count - self.next

    def __next__(self):
        if self.next >= self.batch.count:
            raise StopIteration
        self.next += 1
        return self.batch.frame(self.next - 1)


@cython.final
@cython.internal
cdef class _Views:
    cdef FrameBatch batch
    cdef Py_ssize_t next

    def __iter__(self):
        return self

    def __length_hint__(self):
        return self.batch.count - self.next

    def __next__(self):
        cdef FrameView view
        if self.next >= self.batch.count:
            raise StopIteration
        view = FrameView.__new__(FrameView)
        view.batch = self.batch
        view.data = self.batch.data + self.batch.starts[self.next]
        view.size = self.batch.sizes[self.next]
        self.next += 1
        return view


@cython.final
@cython.internal
@cython.freelist(256)
@cython.no_gc
cdef class FrameView:
    """One frame of a batch, not copied: `len`, `bytes()`, `memoryview()`, `==` and `hash`."""

    cdef FrameBatch batch
    cdef const uint8_t *data
    cdef Py_ssize_t size

    def __len__(self):
        return self.size

    def __bytes__(self):
        return PyBytes_FromStringAndSize(<const char *>self.data, self.size)

    def __eq__(self, other):
        if type(other) is FrameView:
            return self.size == (<FrameView>other).size and not memcmp(self.data, (<FrameView>other).data, self.size)
        try:
            return PyBytes_FromStringAndSize(<const char *>self.data, self.size) == memoryview(other)
        except TypeError:
            return NotImplemented

    def __hash__(self):
        return hash(PyBytes_FromStringAndSize(<const char *>self.data, self.size))

    def __repr__(self):
        return f"<FrameView of {self.size} bytes>"

    def __reduce__(self):
        raise TypeError("a FrameView can't be pickled or copied: bytes() makes it an object")

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("this memory is read-only")
        view.buf = <void *>self.data
        view.obj = self
        view.len = self.size
        view.itemsize = 1
        view.readonly = 1
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = b"B"
        view.ndim = 1
        view.shape = &view.len
        view.strides = &view.itemsize
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer *view):
        pass


cdef FrameBatch new_batch(object owner, Block *block, const uint8_t *data, Py_ssize_t size):
    """An empty batch over `size` bytes at `data`, which `owner` or a reference to `block` keeps alive."""
    cdef FrameBatch batch = FrameBatch.__new__(FrameBatch)
    batch.owner = owner
    batch.block = block
    if block != NULL:
        block.refs += 1
    batch.data = data
    batch.size = size
    return batch
