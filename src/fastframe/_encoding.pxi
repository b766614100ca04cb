# Frames laid out in bytes of their own.

cdef uint8_t *put_frame(const Layout *layout, const void *payload, Py_ssize_t size, uint8_t *out) noexcept:
    """Write the frame that carries these bytes, which `frame_size` has measured; returns where it ends."""
    out += put_binary(layout, size, out) if layout.kind == BINARY else put_lead(layout, size, out)
    ff_copy(out, payload, size)
    out += size
    if layout.trailer_size:
        memcpy(out, layout.trailer, layout.trailer_size)
        out += layout.trailer_size
    return out


cdef Py_ssize_t put_frames(
    const Layout *layout, PyObject **item, Py_ssize_t count, Py_ssize_t most, uint8_t **out, Py_ssize_t room
) noexcept:
    """Write the frames of these `bytes`, up to a payload of `most` bytes, or a frame that might not fit in `room`.

    Returns how many, and moves *out to where they end.
    """
    # Its own copy: else each byte written might change it, for all that the compiler knows. And no `put_frame`: a call
    # for each frame takes a tenth of the time.
    cdef Layout own = layout[0]
    cdef uint8_t *at = out[0]
    cdef uint8_t *stop = at + (room - 2 * SHORT_LEAD)
    cdef Py_ssize_t i = 0, size
    while i < count:
        size = raw_size(item[i])
        if size >= most or size > stop - at:
            break
        at += put_binary(&own, size, at) if own.kind == BINARY else put_lead(&own, size, at)
        ff_copy(at, raw_data(item[i]), size)
        at += size
        if own.trailer_size:
            memcpy(at, own.trailer, own.trailer_size)
            at += own.trailer_size
        i += 1
    out[0] = at
    return i


cdef inline Py_ssize_t frame_size(const Layout *layout, Py_ssize_t size) noexcept:
    """The bytes of a frame whose payload has `size` bytes, or -1: the description must decide."""
    cdef Py_ssize_t head = -1
    if size <= layout.limit:
        head = lead_size(layout, size)
    return head if head < 0 else head + size + layout.trailer_size


cdef inline Py_ssize_t carried_size(const Layout *layout, const void *payload, Py_ssize_t size) noexcept:
    """The bytes of the frame that carries these, or -1: the description must decide."""
    cdef Py_ssize_t total = frame_size(layout, size)
    if total < 0:
        return -1
    if layout.kind == DELIMITED and not is_delimited(layout, <const uint8_t *>payload, size):
        return -1
    if layout.kind == REWRITTEN and not has_header(layout, <const uint8_t *>payload, size):
        return -1
    return total


cdef bint is_delimited(const Layout *layout, const uint8_t *payload, Py_ssize_t size) noexcept:
    """Whether the frame ends where it must, and with the end that it must."""
    cdef uint8_t piece[2 * SHORT_LEAD]
    cdef Py_ssize_t tail = layout.trailer_size, before
    cdef Span span
    cdef Answer answer = scan_delimited(layout, payload, size, 0, &span)
    if layout.keep:
        return answer == FOUND and span.total == size
    if answer != SHORT:
        return False
    # There is no end in the payload. Nor, then, one that begins in it and is complete too early?
    before = min(size, layout.mark_size - 1)
    if not before:
        return True
    memcpy(piece, payload + size - before, before)
    memcpy(piece + before, layout.trailer, tail)
    return scan_delimited(layout, piece, before + tail, 0, &span) == FOUND and span.high == before


cdef bint has_header(const Layout *layout, const uint8_t *payload, Py_ssize_t size) noexcept:
    """Whether the payload begins with what isn't stripped of the header."""
    cdef Py_ssize_t magic = layout.magic_size - layout.strip
    if size < layout.header - layout.strip:
        return False
    return magic <= 0 or not memcmp(payload, layout.magic + layout.strip, magic)


cdef inline uint8_t *put_carried(const Layout *layout, const void *payload, Py_ssize_t size, uint8_t *out) noexcept:
    """Write the frame that carries these bytes, which `carried_size` has measured; returns where it ends."""
    cdef uint8_t *end = put_frame(layout, payload, size, out)
    cdef uint64_t kept
    if layout.kind == REWRITTEN:
        # The bits that aren't length stay.
        kept = load(out + layout.offset, layout.width, layout.big_endian) & ~layout.mask
        store(layout, out + layout.offset, <uint64_t>(size + layout.trailing - layout.adjustment) | kept)
    return end


cdef _Plan plan_kept(object framing):
    """The plan of `framing` for frames that are written, made once and kept there."""
    cdef _Plan plan
    kept = framing._plan
    if type(kept) is _Plan:
        return <_Plan>kept
    plan = new_plan(framing)
    # What owns the same bytes: a plan that owns the framing that keeps it is a circle.
    plan.framing = framing._given
    if plan.layout.kind == DELIMITED:
        lay_ends(plan, framing)
    elif plan.layout.kind == BINARY:
        lay_field(plan, framing)
    object.__setattr__(framing, "_plan", plan)
    return plan


cdef int lay_ends(_Plan plan, object framing) except -1:
    """Let a frame begin with the start and end with the first end, so that the rest is found as in a payload."""
    cdef Layout *layout = &plan.layout
    layout.magic_size = 0
    if layout.mark_size > SHORT_LEAD:
        return 0
    if not layout.keep:
        layout.trailer = layout.end[0]
        layout.trailer_size = layout.end_size[0]
    return lay_lead(plan, framing.start)


cdef int lay_field(_Plan plan, object framing) except -1:
    """Let frames be written that bring the field along, and such as need no escape because they aren't large."""
    cdef Layout *layout = &plan.layout
    if framing._blind:
        return 0
    if framing.escape:
        if framing.strip == framing.header_size:
            most = min(framing._most, framing._escaped - 1) + framing.adjustment - framing.trailer_size
            layout.limit = max(-1, min(framing.limit, most))
            lay_lead(plan, framing._base())
    elif framing.strip <= framing.offset:
        layout.kind = REWRITTEN
        layout.trailing += layout.strip - layout.header
        lay_lead(plan, framing._base()[: framing.strip])
    return 0


def encode(framing, payload):
    """The frame that carries `payload`. Raises as the framing's `parts` does."""
    cdef _Plan plan = plan_kept(framing)
    cdef _Input given
    cdef bytes frame
    body = payload
    if PyBytes_CheckExact(payload):
        frame = frame_of(&plan.layout, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    else:
        body = in_a_row(payload)
        given = input_of(body)
        try:
            frame = frame_of(&plan.layout, given.data, given.size)
        finally:
            given.release()
    return b"".join(framing.parts(body)) if frame is None else frame


cdef object in_a_row(object payload):
    """The payload, or what has its bytes in a row; raises as the descriptions do."""
    return payload if type(payload) is bytearray else flat(payload)


cdef bytes frame_of(const Layout *layout, const void *payload, Py_ssize_t size):
    """The frame that carries these bytes, or None: the description must decide."""
    cdef Py_ssize_t total = carried_size(layout, payload, size)
    cdef bytes frame
    if total < 0:
        return None
    frame = PyBytes_FromStringAndSize(NULL, total)
    put_carried(layout, payload, size, <uint8_t *>PyBytes_AS_STRING(frame))
    return frame


def encode_many(framing, payloads):
    """The frames of all payloads, one behind the other. Raises as the framing's `parts` does for the first at fault."""
    cdef _Plan plan = plan_kept(framing)
    cdef list items = [], pieces = []  # payloads; and before them, frames
    cdef Py_ssize_t total = 0, size
    cdef bytes body
    for payload in payloads:
        # The iterable may use the same memory for its next payload.
        body = payload if PyBytes_CheckExact(payload) else bytes(in_a_row(payload))
        size = carried_size(&plan.layout, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        if size < 0:
            parts = framing.parts(body)
            if total:
                pieces.append(frames_of(&plan.layout, items, total))
                items = []
                total = 0
            pieces.extend(parts)
            continue
        if size > PY_SSIZE_T_MAX - total:
            raise OverflowError("join() result is too long")
        total += size
        items.append(body)
    if not pieces:
        return frames_of(&plan.layout, items, total)
    pieces.append(frames_of(&plan.layout, items, total))
    return b"".join(pieces)


cdef bytes frames_of(const Layout *layout, list items, Py_ssize_t total):
    """The frames of these payloads, which are `bytes`; they have `total` bytes."""
    cdef bytes frames = PyBytes_FromStringAndSize(NULL, total)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(frames)
    cdef PyObject **item = list_items(items)
    cdef Py_ssize_t i
    if layout.kind != REWRITTEN:
        put_frames(layout, item, len(items), PY_SSIZE_T_MAX, &out, total + 2 * SHORT_LEAD)
        return frames
    for i in range(len(items)):
        out = put_carried(layout, raw_data(item[i]), raw_size(item[i]), out)
    return frames
