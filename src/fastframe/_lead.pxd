"""A frame's header, written in C: what `_scan.pxd` reads.

Headers that only the description itself can write have a size of -1.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from fastframe._scan cimport BINARY, DELIMITED, FIXED, HEADED, PADDED, REWRITTEN, SEPARATED, UNTIL_EOF, VARINT, Layout


cdef enum:
    # The longest header or trailer that is written here.
    SHORT_LEAD = 64


cdef inline Py_ssize_t lead_size(const Layout *layout, Py_ssize_t size) noexcept nogil:
    """The bytes in front of a payload of `size` bytes, or -1. Sizes are within the limit."""
    cdef Py_ssize_t count
    cdef uint64_t length
    if layout.kind == BINARY:
        # Adjustments are within 2**60, and a payload lies in memory: no sum here overflows.
        return layout.lead_size if size + layout.trailing >= layout.adjustment else -1
    if layout.kind == UNTIL_EOF or (layout.kind == FIXED and size == layout.limit):
        return 0
    if layout.lead_size < 0:
        return -1
    if layout.kind in (SEPARATED, PADDED, HEADED):
        return text_size(layout, size)
    if layout.kind == REWRITTEN and size + layout.trailing < layout.adjustment:
        return -1
    if layout.kind != VARINT:
        return layout.lead_size
    count = layout.lead_size + 1
    length = <uint64_t>size >> 7
    while length:
        length >>= 7
        count += 1
    return count


cdef inline Py_ssize_t put_lead(const Layout *layout, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write them, as many as `lead_size` told; returns how many."""
    cdef Py_ssize_t at = layout.lead_size
    cdef uint64_t length = <uint64_t>size
    if layout.kind == BINARY:
        return put_binary(layout, size, out)
    if layout.kind in (SEPARATED, PADDED, HEADED):
        return put_text(layout, size, out)
    if layout.kind == FIXED or layout.kind == UNTIL_EOF:
        return 0
    memcpy(out, layout.lead, at)
    if layout.kind != VARINT:
        return at
    while length > 0x7F:
        out[at] = <uint8_t>(length & 0x7F | 0x80)
        length >>= 7
        at += 1
    out[at] = <uint8_t>length
    return at + 1


cdef inline Py_ssize_t put_binary(const Layout *layout, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """As `put_lead`; small enough to be compiled into where it is called."""
    if layout.lead_size != layout.width:
        memcpy(out, layout.lead, layout.lead_size)
    store(layout, out + layout.offset, <uint64_t>(size + layout.trailing - layout.adjustment))
    return layout.lead_size


cdef inline void store(const Layout *layout, uint8_t *field, uint64_t length) noexcept nogil:
    """Write a BINARY's field."""
    cdef int i
    # The width and order of most protocols.
    if layout.width == 4 and layout.big_endian:
        field[0] = <uint8_t>(length >> 24)
        field[1] = <uint8_t>(length >> 16)
        field[2] = <uint8_t>(length >> 8)
        field[3] = <uint8_t>length
        return
    for i in range(layout.width):
        field[layout.width - 1 - i if layout.big_endian else i] = <uint8_t>(length >> (8 * i))


cdef inline Py_ssize_t text_size(const Layout *layout, Py_ssize_t size) noexcept nogil:
    """As `lead_size`, of a length in text. It has no more digits than it may, or the size were beyond the limit."""
    cdef uint64_t length
    if size + layout.trailing < layout.adjustment:
        return -1
    if layout.kind == PADDED:
        return layout.width
    length = <uint64_t>(size + layout.trailing - layout.adjustment)
    return layout.lead_size + digits_of(length, layout.base) + layout.mark_size


cdef inline Py_ssize_t put_text(const Layout *layout, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """As `put_lead`, of a length in text."""
    cdef uint64_t length = <uint64_t>(size + layout.trailing - layout.adjustment)
    cdef Py_ssize_t count = digits_of(length, layout.base)
    if layout.kind != PADDED:
        memcpy(out, layout.lead, layout.lead_size)
        count += layout.lead_size
        put_digits(length, layout.base, out + count)
        memcpy(out + count, layout.mark, layout.mark_size)
        return count + layout.mark_size
    memset(out, layout.pad, layout.width)
    put_digits(length, layout.base, out + (count if layout.left else layout.width))
    return layout.width


cdef inline int digits_of(uint64_t length, int base) noexcept nogil:
    """How many digits the length has."""
    cdef int count = 1
    # Divided by constants: by a variable it takes several times as long.
    length = length / 10 if base == 10 else length >> 4
    while length:
        length = length / 10 if base == 10 else length >> 4
        count += 1
    return count


cdef inline void put_digits(uint64_t length, int base, uint8_t *end) noexcept nogil:
    """Write the length so that it stops in front of `end`."""
    cdef uint64_t rest
    cdef int digit
    while True:
        end -= 1
        rest = length / 10 if base == 10 else length >> 4
        digit = <int>(length - rest * <uint64_t>base)
        end[0] = <uint8_t>(digit + (c"0" if digit < 10 else c"a" - 10))
        if not rest:
            return
        length = rest
