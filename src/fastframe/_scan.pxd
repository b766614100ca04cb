"""Where a frame ends, in C: the length-prefix parser.

`scan` knows the well-formed frames of every description but Computed; of ContentLength those
with the common header lines, once all of them are there. For all that it can't answer plainly
it says ASK, and the description's own `_measure` decides: so each error has one author. It
reads `size` bytes at `data` and nothing else; every sum is made after its parts were compared
with the limit, in unsigned arithmetic.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp


cdef enum Kind:
    BINARY, VARINT, PADDED, SEPARATED, DELIMITED, HEADED, FIXED, UNTIL_EOF, ASKED
    REWRITTEN  # a BINARY to be written, whose payload brings the field along

cdef enum Answer:
    SHORT  # more bytes must come first: span.total says how many there must be
    FOUND  # span says all of the frame, which may be incomplete
    ASK  # the description must decide
    OPEN  # a frame without an end yet, which may be too large: the description must decide

ctypedef struct Span:
    Py_ssize_t total  # the whole frame
    Py_ssize_t low  # its payload begins here
    Py_ssize_t high  # and ends here
    Py_ssize_t header

ctypedef struct Layout:
    Kind kind
    bint plain  # BINARY without magic, mask or trailer, whose escape is no good length
    bint big_endian
    bint strict  # VARINT
    bint keep  # DELIMITED; VARINT, PADDED, SEPARATED: the header is delivered too
    bint left  # PADDED: the digits stand on the left
    uint8_t pad
    int base
    int width  # BINARY: of the field; VARINT, PADDED, SEPARATED, HEADED: the most characters
    int wide  # of the escaped field, 0 without one
    Py_ssize_t offset
    Py_ssize_t header
    Py_ssize_t strip
    Py_ssize_t trailing
    Py_ssize_t limit
    int64_t adjustment
    uint64_t mask
    uint64_t escape
    uint64_t low  # BINARY: lengths of low to low + count - 1 are good
    uint64_t count
    uint64_t wide_count
    Py_ssize_t magic_size  # BINARY: magic; DELIMITED: start
    const uint8_t *magic
    Py_ssize_t trailer_size  # its bytes that are known
    const uint8_t *trailer
    Py_ssize_t mark_size  # SEPARATED, HEADED: what ends the header; DELIMITED: the longest end's size
    const uint8_t *mark
    int ends
    const uint8_t **end
    Py_ssize_t *end_size
    Py_ssize_t lead_size  # what a frame begins with, up to the length or with zeros for it; -1: ask the description
    const uint8_t *lead
    int only  # DELIMITED: the byte that all ends end with, or -1
    uint8_t last[256]  # DELIMITED: 1 for each byte that an end ends with


cdef inline uint64_t load(const uint8_t *p, int width, bint big_endian) noexcept nogil:
    """The unsigned number of `width` bytes at p."""
    cdef uint64_t value = 0
    cdef int i
    if width == 4:
        if big_endian:
            return (<uint64_t>p[0] << 24) | (<uint64_t>p[1] << 16) | (<uint64_t>p[2] << 8) | p[3]
        return (<uint64_t>p[3] << 24) | (<uint64_t>p[2] << 16) | (<uint64_t>p[1] << 8) | p[0]
    for i in range(width):
        value = (value << 8) | p[i if big_endian else width - 1 - i]
    return value


cdef inline Answer scan(
    const Layout *layout, const uint8_t *data, Py_ssize_t size, Py_ssize_t seen, Span *span
) noexcept nogil:
    """Judge the frame that begins at `data`; its first `seen` bytes gave no answer before."""
    if layout.kind == BINARY:
        return scan_binary(layout, data, size, span)
    if layout.kind == VARINT:
        return scan_varint(layout, data, size, span)
    if layout.kind == SEPARATED:
        return scan_separated(layout, data, size, span)
    if layout.kind == PADDED:
        return scan_padded(layout, data, size, span)
    if layout.kind == DELIMITED:
        return scan_delimited(layout, data, size, seen, span)
    if layout.kind == HEADED:
        return scan_headed(layout, data, size, seen, span)
    if layout.kind == FIXED:
        span.total = span.high = layout.limit
        span.low = span.header = 0
        return FOUND
    if layout.kind == UNTIL_EOF:
        span.total = size + 1
        return SHORT if size <= layout.limit else OPEN
    return ASK


cdef inline Answer scan_binary(const Layout *layout, const uint8_t *data, Py_ssize_t size, Span *span) noexcept nogil:
    cdef Py_ssize_t behind = layout.offset + layout.width
    cdef Py_ssize_t have
    cdef uint64_t length, count = layout.count
    if layout.magic_size:
        have = layout.magic_size if size > layout.magic_size else size
        if memcmp(data, layout.magic, have):
            return ASK
    span.header = layout.header
    span.low = layout.strip
    if size < behind:
        span.total = layout.header
        return SHORT
    length = load(data + layout.offset, layout.width, layout.big_endian)
    if layout.wide and length == layout.escape:
        span.header += layout.wide
        if layout.strip > layout.offset:
            span.low += layout.wide
        count = layout.wide_count
        if size < behind + layout.wide:
            span.total = span.header
            return SHORT
        length = load(data + behind, layout.wide, layout.big_endian)
    else:
        length &= layout.mask
    if length - layout.low >= count:
        return ASK
    span.total = <Py_ssize_t>(length + <uint64_t>layout.adjustment + <uint64_t>span.header)
    span.high = span.total - layout.trailing
    return FOUND


cdef inline Answer scan_varint(const Layout *layout, const uint8_t *data, Py_ssize_t size, Span *span) noexcept nogil:
    cdef uint64_t length = 0
    cdef Py_ssize_t at = layout.offset
    cdef int i
    if size <= at:
        span.total = at + 1
        return SHORT
    for i in range(layout.width):
        if at >= size:
            span.total = size + 1
            return SHORT
        if i == 9 and data[at] > 1:
            return ASK
        length |= <uint64_t>(data[at] & 0x7F) << (7 * i)
        at += 1
        if data[at - 1] < 0x80:
            if layout.strict and i and not data[at - 1]:
                return ASK
            return sized(layout, length, at, span)
    return ASK


cdef inline Answer sized(const Layout *layout, uint64_t length, Py_ssize_t header, Span *span) noexcept nogil:
    """The frame of a header of variable width that says `length`."""
    cdef Py_ssize_t total, payload
    cdef int64_t rest
    # Adjustments are within 2**60, so no sum here overflows.
    if length >> 62:
        return ASK
    rest = <int64_t>length + layout.adjustment
    if rest < 0 or rest > <int64_t>layout.limit + layout.trailing:
        return ASK
    total = header + <Py_ssize_t>rest
    span.header = header
    span.total = total
    span.low = 0 if layout.keep else header
    span.high = total - layout.trailing
    payload = span.high - span.low
    if payload < 0 or payload > layout.limit:
        return ASK
    return FOUND


cdef inline int digit(uint8_t byte, int base) noexcept nogil:
    """The digit's value, or -1."""
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if base == 16:
        if 0x61 <= byte <= 0x66:
            return byte - 0x57
        if 0x41 <= byte <= 0x46:
            return byte - 0x37
    return -1


cdef inline Answer scan_separated(
    const Layout *layout, const uint8_t *data, Py_ssize_t size, Span *span
) noexcept nogil:
    cdef uint64_t length = 0
    cdef Py_ssize_t at = 0, have
    cdef int value
    while at < size and at < layout.width:
        value = digit(data[at], layout.base)
        if value < 0:
            break
        if length >> 59:
            return ASK
        length = length * layout.base + value
        at += 1
    if at > 1 and data[0] == 0x30:
        return ASK
    have = size - at if size - at < layout.mark_size else layout.mark_size
    if (not at and size) or memcmp(data + at, layout.mark, have):
        return ASK
    if have < layout.mark_size:
        span.total = size + 1
        return SHORT
    return sized(layout, length, at + layout.mark_size, span)


cdef inline Answer scan_padded(const Layout *layout, const uint8_t *data, Py_ssize_t size, Span *span) noexcept nogil:
    cdef uint64_t length = 0
    cdef Py_ssize_t at = 0, stop = layout.width
    cdef int value
    if size < stop:
        return ASK
    if layout.left:
        while stop > 0 and data[stop - 1] == layout.pad:
            stop -= 1
    else:
        while at < stop - 1 and data[at] == layout.pad:
            at += 1
    if at == stop:
        return ASK
    while at < stop:
        value = digit(data[at], layout.base)
        if value < 0 or length >> 59:
            return ASK
        length = length * layout.base + value
        at += 1
    return sized(layout, length, layout.width, span)


cdef inline bint reads(const uint8_t *data, const char *word, Py_ssize_t size) noexcept nogil:
    """Whether these bytes are `word`, which has no capitals, in letters of either case."""
    cdef Py_ssize_t i
    cdef uint8_t byte
    for i in range(size):
        byte = data[i]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != <uint8_t>word[i]:
            return False
    return True


cdef inline bint at_line_end(const uint8_t *data, Py_ssize_t at, Py_ssize_t stop) noexcept nogil:
    return stop - at >= 2 and data[at] == 0x0D and data[at + 1] == 0x0A


cdef inline Answer scan_headed(
    const Layout *layout, const uint8_t *data, Py_ssize_t size, Py_ssize_t seen, Span *span
) noexcept nogil:
    """A Content-Length, with a Content-Type behind it or nothing."""
    cdef Py_ssize_t stop = size if size < layout.width else layout.width
    cdef Py_ssize_t at = 15, digits = 0
    cdef uint64_t length = 0
    # What comes in pieces isn't read from its start for each of them: the description goes on where it was.
    if seen or stop < at or not reads(data, b"content-length:", at):
        return ASK
    while at < stop and (data[at] == 0x20 or data[at] == 0x09):
        at += 1
    while at < stop and 0x30 <= data[at] <= 0x39:
        if length >> 59 or digits == 20:
            return ASK
        length = length * 10 + (data[at] - 0x30)
        digits += 1
        at += 1
    while at < stop and (data[at] == 0x20 or data[at] == 0x09):
        at += 1
    if not digits or not at_line_end(data, at, stop):
        return ASK
    at += 2
    if stop - at >= 13 and reads(data + at, b"content-type:", 13):
        at += 13
        while at < stop and (0x20 <= data[at] <= 0x7E or data[at] == 0x09):
            at += 1
        if not at_line_end(data, at, stop):
            return ASK
        at += 2
    if not at_line_end(data, at, stop):
        return ASK
    return sized(layout, length, at + 2, span)


cdef inline Answer scan_delimited(
    const Layout *layout, const uint8_t *data, Py_ssize_t size, Py_ssize_t seen, Span *span
) noexcept nogil:
    cdef Py_ssize_t start = layout.magic_size
    cdef Py_ssize_t have = start if size > start else size
    cdef Py_ssize_t at, mark = 0
    cdef const uint8_t *found
    cdef int i
    if have and memcmp(data, layout.magic, have):
        return ASK
    if size <= start:
        span.total = start if size < start else size + 1
        return SHORT
    at = seen if seen > start else start
    # Only a byte that some end ends with can complete one.
    while at < size:
        if layout.only >= 0:
            found = <const uint8_t *>memchr(data + at, layout.only, size - at)
            if found == NULL:
                break
            at = found - data
        elif not layout.last[data[at]]:
            at += 1
            continue
        at += 1
        for i in range(layout.ends):
            if (
                layout.end_size[i] > mark
                and at - start >= layout.end_size[i]
                and not memcmp(data + at - layout.end_size[i], layout.end[i], layout.end_size[i])
            ):
                mark = layout.end_size[i]
        if mark:
            span.total = at
            span.header = span.low = start
            span.high = at if layout.keep else at - mark
            return FOUND if span.high - start <= layout.limit else OPEN
    span.total = size + 1
    return SHORT if size - start <= layout.limit - layout.keep * layout.mark_size else OPEN
