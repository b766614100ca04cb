# A description, laid out for the parser.

cdef class _Plan:
    """The Layout of one description, and the description, which owns the bytes that it points to."""

    cdef Layout layout
    cdef object framing
    cdef bytes lead  # owns what the layout points to

    def __dealloc__(self):
        PyMem_Free(self.layout.end)
        PyMem_Free(self.layout.end_size)


# A server's clients have one between them.
cdef _Plan last_plan = None


cdef _Plan plan_of(object framing):
    """The plan of `framing`; TypeError if it isn't a description. Nobody changes it."""
    global last_plan
    cdef _Plan plan = last_plan
    if plan is None or plan.framing is not framing:
        plan = new_plan(framing)
        last_plan = plan
    return plan


cdef _Plan new_plan(object framing):
    if not isinstance(framing, Framing):
        raise TypeError(f"framing must be a fastframe.Framing, not {type(framing).__name__}")
    cdef _Plan plan = _Plan.__new__(_Plan)
    cdef Layout *layout = &plan.layout
    plan.framing = framing
    layout.kind = ASKED
    layout.lead_size = -1
    layout.limit = framing.limit
    layout.trailer = framing._trailer
    layout.trailer_size = len(framing._trailer)
    layout.trailing = layout.trailer_size
    if isinstance(framing, LengthField):
        lay_binary(plan, framing)
    elif isinstance(framing, VarintLength):
        layout.kind = VARINT
        layout.width = framing.max_bytes
        layout.offset = framing.offset
        layout.strict = framing.strict
        layout.keep = framing.strip == 0
        if framing.strip is None:
            lay_lead(plan, framing.template or bytes(framing.offset))
    elif isinstance(framing, (AsciiLength, Netstring, ContentLength)):
        lay_text(plan, framing)
    elif isinstance(framing, Delimiter):
        lay_delimiter(layout, framing)
    elif isinstance(framing, FixedSize):
        layout.kind = FIXED
    elif isinstance(framing, UntilEOF):
        layout.kind = UNTIL_EOF
    return plan


cdef int lay_binary(_Plan plan, object framing) except -1:
    cdef Layout *layout = &plan.layout
    layout.kind = BINARY
    layout.width = framing.width
    layout.big_endian = framing.byteorder == "big"
    layout.offset = framing.offset
    layout.header = framing.header_size
    layout.strip = framing.strip
    layout.trailing = framing.trailer_size
    layout.adjustment = framing.adjustment
    layout.magic = framing.magic
    layout.magic_size = len(framing.magic)
    layout.mask = framing._bits()
    layout.low = framing._low
    layout.count = max(0, min(framing._high, framing._most) - framing._low + 1)
    if framing.escape:
        layout.escape = framing._escaped
        layout.wide = framing.escape[1]
        high = framing._high - (layout.wide if framing.strip <= framing.offset else 0)
        layout.wide_count = max(0, high - framing._low + 1)
    # An escape that is no good length otherwise is found where odd lengths are.
    layout.plain = not (framing.magic or framing.trailer_size or framing.mask is not None) and (
        not framing.escape or layout.escape - layout.low >= layout.count
    )
    if framing.strip == framing.header_size and not framing.escape and not framing._blind and not masked(framing):
        lay_lead(plan, framing._base())
    return 0


cdef bint masked(object framing) except -1:
    """Whether there are bits in the field that aren't the length and aren't zero."""
    field = framing._base()[framing.offset : framing.offset + framing.width]
    return (int.from_bytes(field, framing.byteorder) & ~framing._bits()) != 0


cdef int lay_lead(_Plan plan, bytes lead) except -1:
    """Let the header be written in C, if it isn't too long."""
    cdef Layout *layout = &plan.layout
    if PyBytes_GET_SIZE(lead) > SHORT_LEAD - 10 or layout.trailer_size > SHORT_LEAD:
        return 0
    plan.lead = lead
    layout.lead = lead
    layout.lead_size = PyBytes_GET_SIZE(lead)
    return 0


cdef int lay_text(_Plan plan, object framing) except -1:
    cdef Layout *layout = &plan.layout
    if isinstance(framing, Netstring):
        layout.kind = SEPARATED
        layout.width = framing._digits
        layout.base = 10
        layout.mark = b":"
        layout.mark_size = 1
        layout.adjustment = 1
        return lay_lead(plan, b"")
    if isinstance(framing, ContentLength):
        layout.kind = HEADED
        layout.width = framing._reach
        layout.base = 10
        layout.mark = framing._mark
        layout.mark_size = len(framing._mark)
        return lay_lead(plan, framing._head)
    layout.kind = SEPARATED if framing.separator else PADDED
    layout.width = framing.digits
    layout.base = framing.base
    layout.mark = framing.separator
    layout.mark_size = len(framing.separator)
    layout.adjustment = framing.adjustment
    layout.pad = framing.pad[0]
    layout.left = framing.align == "left"
    layout.keep = framing.strip == 0
    # A number has 20 digits at most, if it has no padding.
    if not layout.keep and max(20, layout.width) + layout.mark_size <= SHORT_LEAD:
        lay_lead(plan, b"")
    return 0


cdef int lay_delimiter(Layout *layout, object framing) except -1:
    cdef tuple ends = framing.ends
    cdef bytes end
    cdef int i
    layout.kind = DELIMITED
    layout.magic = framing.start
    layout.magic_size = len(framing.start)
    layout.keep = framing.keep
    layout.mark_size = framing._longest
    layout.only = ends[0][len(ends[0]) - 1]
    layout.ends = len(ends)
    layout.end = <const uint8_t **>PyMem_Malloc(layout.ends * sizeof(const uint8_t *))
    layout.end_size = <Py_ssize_t *>PyMem_Malloc(layout.ends * sizeof(Py_ssize_t))
    if layout.end == NULL or layout.end_size == NULL:
        raise MemoryError
    for i in range(layout.ends):
        end = ends[i]
        layout.end[i] = end
        layout.end_size[i] = len(end)
        layout.last[end[len(end) - 1]] = 1
        if end[len(end) - 1] != layout.only:
            layout.only = -1
    return 0
