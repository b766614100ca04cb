/* The system calls of the engine, POSIX and Windows: reads and writes that never wait.
 *
 * A descriptor's O_NONBLOCK belongs to everyone who shares it and is never changed here.
 * Sockets take MSG_DONTWAIT; other descriptors are polled first. Windows has no such flag:
 * there FIONBIO is set around the call and given back, unless the socket is nonblocking anyway.
 * Where the caller says that a call may wait, it is made as it is: a blocking descriptor waits in it.
 */
#ifndef FASTFRAME_SYS_H
#define FASTFRAME_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32

#include <winsock2.h>
#include <ws2tcpip.h>
#include <errno.h>

typedef SOCKET ff_fd;
typedef WSABUF ff_part;
typedef ptrdiff_t ff_count;

static inline void ff_part_set(ff_part *part, const void *base, size_t size)
{
    part->buf = (CHAR *)base;
    part->len = (ULONG)size;
}

static inline size_t ff_part_size(const ff_part *part) { return part->len; }
static inline const char *ff_part_base(const ff_part *part) { return part->buf; }

static inline int ff_last_error(void) { return WSAGetLastError(); }
static inline int ff_would_block(int error) { return error == WSAEWOULDBLOCK; }
static inline int ff_interrupted(int error) { return error == WSAEINTR; }
static inline int ff_is_local(int error)
{
    return error == WSAENOBUFS || error == WSAENOTSOCK || error == WSAEBADF;
}

/* The type of the socket, 0 for what isn't one, -1 for a descriptor that isn't open. */
static inline int ff_socket_type(ff_fd fd)
{
    int type = 0;
    int size = (int)sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, (char *)&type, &size) == 0)
        return type;
    return WSAGetLastError() == WSAENOTSOCK ? 0 : -1;
}

static inline void ff_prepare(ff_fd fd) { (void)fd; }
static inline void ff_yield(void) { Sleep(0); }

/* A call that may wait isn't made here: no signal would interrupt it. */
static inline ff_count ff_read(ff_fd fd, int is_socket, int blocking, int may_wait, void *buffer, size_t size)
{
    u_long on = 1, off = 0;
    int got, error;
    (void)is_socket;
    (void)may_wait;
    if (size > INT32_MAX)
        size = INT32_MAX;
    if (blocking)
        ioctlsocket(fd, FIONBIO, &on);
    got = recv(fd, (char *)buffer, (int)size, 0);
    if (blocking) {
        error = WSAGetLastError();
        ioctlsocket(fd, FIONBIO, &off);
        WSASetLastError(error);
    }
    return got == SOCKET_ERROR ? -1 : got;
}

static inline ff_count ff_write(ff_fd fd, int is_socket, int blocking, int may_wait, ff_part *parts, int count)
{
    u_long on = 1, off = 0;
    DWORD sent = 0;
    int result, error;
    (void)is_socket;
    (void)may_wait;
    if (blocking)
        ioctlsocket(fd, FIONBIO, &on);
    result = WSASend(fd, parts, (DWORD)count, &sent, 0, NULL, NULL);
    if (blocking) {
        error = WSAGetLastError();
        ioctlsocket(fd, FIONBIO, &off);
        WSASetLastError(error);
    }
    return result == SOCKET_ERROR ? -1 : (ff_count)sent;
}

/* More than 0: ready, or in an error that the next call will tell, or the other one is readable (-1: there is no
 * other); 0: the time is up; -1: see ff_last_error. */
static inline int ff_wait(ff_fd fd, int for_write, int milliseconds, int other)
{
    WSAPOLLFD entries[2];
    memset(entries, 0, sizeof(entries));
    entries[0].fd = fd;
    entries[0].events = for_write ? POLLOUT : POLLIN;
    entries[1].fd = (SOCKET)other;
    entries[1].events = POLLIN;
    return WSAPoll(entries, other < 0 ? 1 : 2, milliseconds);
}

#else

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

typedef int ff_fd;
typedef struct iovec ff_part;
typedef ssize_t ff_count;

#define TERMINAL_BUF 256

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static inline void ff_part_set(ff_part *part, const void *base, size_t size)
{
    part->iov_base = (void *)base;
    part->iov_len = size;
}

static inline size_t ff_part_size(const ff_part *part) { return part->iov_len; }
static inline const char *ff_part_base(const ff_part *part) { return (const char *)part->iov_base; }

static inline int ff_last_error(void) { return errno; }
static inline int ff_would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }
static inline int ff_interrupted(int error) { return error == EINTR; }

/* Errors that say nothing of the peer: the call may be made again. */
static inline int ff_is_local(int error)
{
    return error == ENOBUFS || error == ENOMEM || error == EBADF || error == ENOTSOCK;
}

/* The type of the socket, 0 for what isn't one, -1 for a descriptor that isn't open. */
static inline int ff_socket_type(ff_fd fd)
{
    int type = 0;
    socklen_t size = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0)
        return type;
    return errno == ENOTSOCK ? 0 : -1;
}

/* Where MSG_NOSIGNAL is missing, the socket itself is told to send no SIGPIPE. */
static inline void ff_prepare(ff_fd fd)
{
#ifdef SO_NOSIGPIPE
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#else
    (void)fd;
#endif
}

static inline void ff_yield(void) { (void)sched_yield(); }

/* More than 0: ready, or in an error that the next call will tell, or the other one is readable (-1: there is no
 * other); 0: the time is up; -1: see ff_last_error. */
static inline int ff_wait(ff_fd fd, int for_write, int milliseconds, int other)
{
    struct pollfd entries[2];
    memset(entries, 0, sizeof(entries));
    entries[0].fd = fd;
    entries[0].events = for_write ? POLLOUT : POLLIN;
    entries[1].fd = other;
    entries[1].events = POLLIN;
    return poll(entries, other < 0 ? 1 : 2, milliseconds);
}

/* Whether a call won't wait; if not, errno is EAGAIN or EINTR. What else may be wrong with poll says nothing of the
 * descriptor: whoever waits for it meets it again. */
static inline int ff_is_ready(ff_fd fd, int for_write)
{
    int ready = ff_wait(fd, for_write, 0, -1);
    if (ready == 0 || (ready < 0 && errno != EINTR))
        errno = EAGAIN;
    return ready > 0;
}

static inline ff_count ff_read(ff_fd fd, int is_socket, int blocking, int may_wait, void *buffer, size_t size)
{
    ff_count got;
    (void)blocking;
    if (is_socket)
        return recv(fd, buffer, size, may_wait ? 0 : MSG_DONTWAIT);
    got = may_wait || ff_is_ready(fd, 0) ? read(fd, buffer, size) : -1;
    /* So Linux tells a terminal's master that its other side has been closed. */
    if (got < 0 && errno == EIO)
        return isatty(fd) ? 0 : (errno = EIO, -1);
    return got;
}

/* What a write to something that isn't a socket may take without waiting: 0 for any number of bytes. */
static inline size_t ff_portion(ff_fd fd)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK))
        return 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return 0;
    /* A terminal that takes some bytes may wait for room for more than these. */
    return isatty(fd) ? TERMINAL_BUF : PIPE_BUF;
}

static inline ff_count ff_write(ff_fd fd, int is_socket, int blocking, int may_wait, ff_part *parts, int count)
{
    struct msghdr message;
    size_t portion;
    int flags = may_wait ? MSG_NOSIGNAL : MSG_DONTWAIT | MSG_NOSIGNAL;
    (void)blocking;
    if (is_socket) {
        if (count == 1)
            return send(fd, parts->iov_base, parts->iov_len, flags);
        memset(&message, 0, sizeof(message));
        message.msg_iov = parts;
        message.msg_iovlen = count;
        return sendmsg(fd, &message, flags);
    }
    portion = may_wait ? 0 : ff_portion(fd);
    if (portion == 0)
        return count == 1 ? write(fd, parts->iov_base, parts->iov_len) : writev(fd, parts, count);
    if (!ff_is_ready(fd, 1))
        return -1;
    return write(fd, parts->iov_base, parts->iov_len < portion ? parts->iov_len : portion);
}

#endif

/* Step over `size` bytes: the first part that has some left, and how many parts from there on. */
static inline ff_part *ff_parts_skip(ff_part *parts, int *count, size_t size)
{
    while (*count > 0 && size >= ff_part_size(parts)) {
        size -= ff_part_size(parts);
        parts++;
        (*count)--;
    }
    if (size)
        ff_part_set(parts, ff_part_base(parts) + size, ff_part_size(parts) - size);
    return parts;
}

#endif
