# Frames laid out in bytes of their own.

cdef inline uint8_t *put_frame(const Layout *layout, const void *payload, Py_ssize_t size, uint8_t *out) noexcept:
    """Write the frame that carries these bytes, which `frame_size` has measured; returns where it ends."""
    out += put_lead(layout, size, out)
    ff_copy(out, payload, size)
    out += size
    if layout.trailer_size:
        memcpy(out, layout.trailer, layout.trailer_size)
        out += layout.trailer_size
    return out


cdef inline Py_ssize_t frame_size(const Layout *layout, Py_ssize_t size) noexcept:
    """The bytes of a frame whose payload has `size` bytes, or -1: the description must decide."""
    cdef Py_ssize_t head = -1
    if size <= layout.limit:
        head = lead_size(layout, size)
    return head if head < 0 else head + size + layout.trailer_size


cdef inline Py_ssize_t payload_frame_size(object framing, const Layout *layout, bytes payload) except -1:
    """The bytes of the frame that carries `payload`; raises what is wrong with it."""
    cdef Py_ssize_t size = frame_size(layout, PyBytes_GET_SIZE(payload))
    if size < 0:
        framing.parts(payload)
        raise SystemError("a payload was refused for no reason")
    return size


cdef _Plan plan_kept(object framing):
    """The plan of `framing`, made once and kept there."""
    cdef _Plan plan
    kept = framing._plan
    if type(kept) is _Plan:
        return <_Plan>kept
    plan = plan_of(framing)
    # What owns the same bytes: a plan that owns the framing that keeps it is a circle.
    plan.framing = framing._given
    object.__setattr__(framing, "_plan", plan)
    return plan


def encode(framing, payload):
    """The frame that carries `payload`. Raises as the framing's `parts` does."""
    cdef _Plan plan = plan_kept(framing)
    cdef _Input given
    cdef bytes frame
    body = payload
    if PyBytes_CheckExact(payload):
        frame = frame_of(&plan.layout, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    else:
        body = flat(payload)
        given = input_of(body)
        try:
            frame = frame_of(&plan.layout, given.data, given.size)
        finally:
            given.release()
    return b"".join(framing.parts(body)) if frame is None else frame


cdef bytes frame_of(const Layout *layout, const void *payload, Py_ssize_t size):
    """The frame that carries these bytes, or None: the description must decide."""
    cdef Py_ssize_t total = frame_size(layout, size)
    cdef bytes frame
    if total < 0:
        return None
    frame = PyBytes_FromStringAndSize(NULL, total)
    put_frame(layout, payload, size, <uint8_t *>PyBytes_AS_STRING(frame))
    return frame


def encode_many(framing, payloads):
    """The frames of all payloads, one behind the other. Raises as the framing's `parts` does for the first at fault."""
    cdef _Plan plan = plan_kept(framing)
    cdef const Layout *layout = &plan.layout
    cdef bint known = is_written(layout)
    cdef list items = []
    cdef Py_ssize_t total = 0, size
    cdef bytes body
    for payload in payloads:
        # The iterable may use the same memory for its next payload.
        body = payload if PyBytes_CheckExact(payload) else bytes(flat(payload))
        if not known:
            items.extend(framing.parts(body))
            continue
        size = payload_frame_size(framing, layout, body)
        if size > PY_SSIZE_T_MAX - total:
            raise OverflowError("join() result is too long")
        total += size
        items.append(body)
    return frames_of(layout, items, total) if known else b"".join(items)


cdef bytes frames_of(const Layout *layout, list items, Py_ssize_t total):
    """The frames of these payloads, which have `total` bytes and are `bytes`."""
    cdef bytes frames = PyBytes_FromStringAndSize(NULL, total)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(frames)
    cdef PyObject **item = list_items(items)
    cdef Layout own = layout[0]  # else each byte written might change it, for all that the compiler knows
    cdef Py_ssize_t i
    for i in range(len(items)):
        out = put_frame(&own, raw_data(item[i]), raw_size(item[i]), out)
    return frames
