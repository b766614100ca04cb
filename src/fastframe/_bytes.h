/* Making many small bytes objects, and a list of them, at the least cost.
 *
 * PyBytes_FromStringAndSize is a call into the interpreter that checks, allocates and copies; for
 * payloads of a few bytes half of its time goes elsewhere than into the allocation. Where the layout
 * of a bytes object is known, the same steps are made here in line. Empty and one-byte objects are
 * the interpreter's shared ones, so they, and every build whose layout isn't known, take the call.
 */
#ifndef FASTFRAME_BYTES_H
#define FASTFRAME_BYTES_H

#include <Python.h>
#include <stdlib.h>
#include <string.h>

#if defined(PYPY_VERSION) || defined(Py_LIMITED_API) || defined(Py_GIL_DISABLED) || defined(Py_DEBUG) || \
    defined(Py_TRACE_REFS) || PY_VERSION_HEX >= 0x03100000
#define FF_KNOWN_LAYOUT 0
#else
#define FF_KNOWN_LAYOUT 1
#endif

#if FF_KNOWN_LAYOUT && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#elif FF_KNOWN_LAYOUT && defined(_MSC_VER)
#pragma warning(push)
#pragma warning(disable : 4996)
#endif

/* memcpy, without the call for the sizes that most small frames have: two moves that overlap. */
static inline void ff_copy(void *to, const void *from, size_t size)
{
    char *out = (char *)to;
    const char *in = (const char *)from;
    if (size > 32 || size < 8) {
        memcpy(out, in, size);
    } else if (size >= 16) {
        memcpy(out, in, 16);
        memcpy(out + size - 16, in + size - 16, 16);
    } else {
        memcpy(out, in, 8);
        memcpy(out + size - 8, in + size - 8, 8);
    }
}

/* Before the first large frame, or the first 256 KiB of small ones: show the C library a block that is mapped and freed.
 *
 * glibc gives the end of its heap back to the system whenever 128 KiB are free there, so that each batch of frames would
 * take its pages anew; from the size of such a block on it takes twice that for usual. Others don't care.
 */
static inline void ff_prime(void)
{
    static int primed;
    void *volatile block; /* or else the compiler leaves both calls out */
    if (!primed) {
        primed = 1;
        block = malloc(1 << 22);
        free(block);
    }
}

/* Make a bytes object of more than one byte, which nobody else may know, larger; on failure it stays as it is. */
static inline int ff_bytes_grow(PyObject **bytes, Py_ssize_t size)
{
    PyObject *grown;
#if FF_KNOWN_LAYOUT
    if (Py_REFCNT(*bytes) == 1) {
        grown = (PyObject *)PyObject_Realloc(*bytes, offsetof(PyBytesObject, ob_sval) + 1 + (size_t)size);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        ((PyVarObject *)grown)->ob_size = size;
        ((PyBytesObject *)grown)->ob_sval[size] = '\0';
        *bytes = grown;
        return 0;
    }
#endif
    grown = PyBytes_FromStringAndSize(NULL, size);
    if (grown == NULL)
        return -1;
    memcpy(PyBytes_AS_STRING(grown), PyBytes_AS_STRING(*bytes), (size_t)PyBytes_GET_SIZE(*bytes));
    Py_DECREF(*bytes);
    *bytes = grown;
    return 0;
}

/* Shorten a list whose items from `size` on are not set. */
static inline void ff_list_cut(PyObject *list, Py_ssize_t size)
{
    Py_SET_SIZE((PyVarObject *)list, size);
}

/* Where a list has its items. */
#define FF_LIST_ITEMS(list) (((PyListObject *)(list))->ob_item)

/* A new bytes object of `size` bytes at `data`, or NULL with MemoryError set. */
static inline PyObject *ff_bytes(const void *data, Py_ssize_t size)
{
#if FF_KNOWN_LAYOUT
    if (size > 1 && size < 65536) {
        PyBytesObject *made = (PyBytesObject *)PyObject_Malloc(offsetof(PyBytesObject, ob_sval) + 1 + (size_t)size);
        if (made == NULL)
            return PyErr_NoMemory();
#if PY_VERSION_HEX < 0x030D0000
        ((PyObject *)made)->ob_refcnt = 1;
        ((PyObject *)made)->ob_type = &PyBytes_Type;
        ((PyVarObject *)made)->ob_size = size;
#else
        /* From 3.13 on, tracers of references are told here. */
        (void)PyObject_InitVar((PyVarObject *)made, &PyBytes_Type, size);
#endif
        made->ob_shash = -1;
        ff_copy(made->ob_sval, data, (size_t)size);
        made->ob_sval[size] = '\0';
        return (PyObject *)made;
    }
#endif
    return PyBytes_FromStringAndSize((const char *)data, size);
}

#if FF_KNOWN_LAYOUT && defined(__GNUC__)
#pragma GCC diagnostic pop
#elif FF_KNOWN_LAYOUT && defined(_MSC_VER)
#pragma warning(pop)
#endif

#endif
