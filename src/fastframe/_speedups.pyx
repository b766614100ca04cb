"""The engine in Cython: the length-prefix parser, the recv loop and the send loop.

The same classes as in _pure.py, with the same promises; a frame costs a parse in C and the
`bytes` object that is handed over. No pointer into a buffer is held while Python code runs,
save in a buffer that only this object can reach: an object that is in use refuses a second
caller with ConcurrentUse. The GIL is released around each system call.

    _scan.pxd      where a frame ends
    _lead.pxd      what stands in front of a payload
    _plan.pxi      a description, laid out for the parser
    _batch.pxi     blocks of memory, and frames that aren't objects yet
    _input.pxi     what callers give
    _queue.pxi     the bytes that aren't delivered yet
    _stream.pxi    what Decoder and FrameReader share: the frames in them
    _decoder.pxi   bytes in, frames out
    _reader.pxi    the recv loop
    _encoding.pxi  frames in bytes of their own
    _outbox.pxi    the send loop
    _writer.pxi    frames on their way to it
    _gather.pxi    many frames on their way into few system calls
    _slices.pxi    payloads, as many at a time as go out together
    _epoll.pxi     which of them are ready, on Linux
    _poller.pxi    many descriptors at once
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF, Py_XINCREF
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from fastframe._lead cimport SHORT_LEAD, lead_size, put_binary, put_lead, store
from fastframe._scan cimport (
    ASK,
    ASKED,
    BINARY,
    DELIMITED,
    FIXED,
    FOUND,
    HEADED,
    OPEN,
    PADDED,
    REWRITTEN,
    SEPARATED,
    SHORT,
    UNTIL_EOF,
    VARINT,
    Answer,
    Layout,
    Span,
    load,
    scan,
    scan_delimited,
)

import sys
from errno import ENOMEM
from operator import index as operator_index
from os import strerror
from time import monotonic

from ._channel import Channel
from ._description import Framing, flat
from ._readiness import readiness
from .errors import (
    ConcurrentUse,
    ConnectionClosed,
    ConnectionLost,
    FrameError,
    FrameTooLarge,
    InvalidFrame,
    QueueFull,
    TruncatedFrame,
)
from .framing import AsciiLength, ContentLength, Delimiter, FixedSize, LengthField, Netstring, UntilEOF, VarintLength
from .stats import Stats

cdef extern from "Python.h":
    PyObject *raw_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t)
    bint is_bytes "PyBytes_CheckExact"(PyObject *)
    char *raw_data "PyBytes_AS_STRING"(PyObject *)
    Py_ssize_t raw_size "PyBytes_GET_SIZE"(PyObject *)
    int append "PyList_Append"(list, PyObject *)
    list new_list "PyList_New"(Py_ssize_t)
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "_bytes.h":
    PyObject *ff_bytes(const void *, Py_ssize_t)
    bytes new_bytes "ff_bytes"(const void *, Py_ssize_t)
    int ff_bytes_grow(PyObject **, Py_ssize_t) except -1
    void ff_prime()
    void ff_copy(void *, const void *, size_t)
    void ff_list_cut(list, Py_ssize_t)
    PyObject **list_items "FF_LIST_ITEMS"(list)

cdef extern from "_sys.h":
    ctypedef Py_ssize_t ff_fd
    ctypedef Py_ssize_t ff_count
    ctypedef struct ff_part:
        pass
    void ff_part_set(ff_part *, const void *, size_t) nogil
    size_t ff_part_size(const ff_part *) nogil
    const char *ff_part_base(const ff_part *) nogil
    ff_part *ff_parts_skip(ff_part *, int *, size_t) nogil
    int ff_last_error() nogil
    bint ff_would_block(int) nogil
    bint ff_interrupted(int) nogil
    bint ff_is_local(int) nogil
    int ff_socket_type(ff_fd) nogil
    void ff_prepare(ff_fd) nogil
    void ff_yield() nogil
    int ff_wait(ff_fd, int, int, int) nogil
    ff_count ff_read(ff_fd, int, int, int, void *, size_t) nogil
    ff_count ff_write(ff_fd, int, int, int, ff_part *, int) nogil

cdef extern from "_epoll.h":
    const bint FF_EPOLL
    ctypedef struct ff_event:
        pass
    int ff_epoll_create() nogil
    int ff_epoll_watch(int, int, int, int) nogil
    int ff_epoll_wait(int, ff_event *, int, int) nogil
    void ff_epoll_close(int) nogil
    int ff_event_number(const ff_event *) nogil
    int ff_event_bits(const ff_event *) nogil

include "_plan.pxi"
include "_batch.pxi"
include "_input.pxi"
include "_queue.pxi"
include "_stream.pxi"
include "_decoder.pxi"
include "_handle.pxi"
include "_reader.pxi"
include "_encoding.pxi"
include "_outbox.pxi"
include "_writer.pxi"
include "_gather.pxi"
include "_slices.pxi"
include "_epoll.pxi"
include "_poller.pxi"
