"""A frame's header, written in C: what `_scan.pxd` reads.

Headers that only the description itself can write have a size of -1.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastframe._scan cimport BINARY, FIXED, UNTIL_EOF, VARINT, Layout


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
    if layout.kind != VARINT or layout.lead_size < 0:
        return -1
    count = layout.lead_size + 1
    length = <uint64_t>size >> 7
    while length:
        length >>= 7
        count += 1
    return count


cdef inline bint is_written(const Layout *layout) noexcept nogil:
    """Whether frames are written here, save for payloads that they can't carry."""
    return layout.lead_size >= 0 or layout.kind == FIXED or layout.kind == UNTIL_EOF


cdef inline Py_ssize_t put_lead(const Layout *layout, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Write them, as many as `lead_size` told; returns how many."""
    cdef Py_ssize_t at = layout.lead_size
    cdef uint64_t length
    cdef int i
    if layout.kind == BINARY:
        length = <uint64_t>(size + layout.trailing - layout.adjustment)
        if at != layout.width:
            memcpy(out, layout.lead, at)
        if layout.width == 4 and layout.big_endian:
            store_u32(out + layout.offset, length)
            return at
        for i in range(layout.width):
            out[layout.offset + (layout.width - 1 - i if layout.big_endian else i)] = <uint8_t>(length >> (8 * i))
        return at
    if layout.kind != VARINT:
        return 0
    memcpy(out, layout.lead, at)
    length = <uint64_t>size
    while length > 0x7F:
        out[at] = <uint8_t>(length & 0x7F | 0x80)
        length >>= 7
        at += 1
    out[at] = <uint8_t>length
    return at + 1


cdef inline void store_u32(uint8_t *out, uint64_t length) noexcept nogil:
    """The width and order of most protocols."""
    out[0] = <uint8_t>(length >> 24)
    out[1] = <uint8_t>(length >> 16)
    out[2] = <uint8_t>(length >> 8)
    out[3] = <uint8_t>length
