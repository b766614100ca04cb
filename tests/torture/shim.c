/* System calls that fail on demand: for LD_PRELOAD, steered from Python by the functions ff_shim_*.
 *
 * Only calls on marked descriptors are counted and can fail. A close always closes, whatever it
 * answers: the descriptor's state after EINTR or EIO is that of Linux. The bytes that the kernel
 * really took and gave are counted for each descriptor.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define PIECES 1024

/* Each function that is wrapped, as `names` in shim.py has them. */
enum function {
    RECV, RECVFROM, RECVMSG, READ, READV, SEND, SENDTO, SENDMSG, WRITE, WRITEV, POLL, PPOLL,
    CONNECT, ACCEPT, ACCEPT4, SOCKET, CLOSE, SHUTDOWN, GETSOCKOPT, SETSOCKOPT, FUNCTIONS
};

/* FAIL: -1 and errno, nothing is done. AFTER: the same once the call is done. SHORT: at most so many bytes.
 * ANSWER: poll gives these events, or nothing for 0, without asking. LIE: so many bytes more than were asked for. */
enum kind { NONE, FAIL, AFTER, SHORT, ANSWER, LIE };

enum direction { RECEIVED, SENT };

static unsigned char marked[DESCRIPTORS];
static long long bytes[2][DESCRIPTORS];
static long counts[FUNCTIONS];
static int marks_new;
static struct {
    int function, kind, value;
    long first, last, fired;
} fault;

/* --- Crashes: whose are they? */

static void tell(int number)
{
    void *frames[32];
    static const char title[] = "\nC stack:\n";
    if (write(STDERR_FILENO, title, sizeof(title) - 1) > 0)
        backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

/* Before Python's faulthandler, which comes back to this one. */
__attribute__((constructor)) static void expect_crashes(void)
{
    void *frame;
    backtrace(&frame, 1); /* what it loads is loaded now */
    signal(SIGSEGV, tell);
    signal(SIGBUS, tell);
    signal(SIGFPE, tell);
    signal(SIGABRT, tell);
}

/* --- What Python calls */

void ff_shim_reset(void)
{
    memset(marked, 0, sizeof(marked));
    memset(bytes, 0, sizeof(bytes));
    memset(counts, 0, sizeof(counts));
    memset(&fault, 0, sizeof(fault));
    marks_new = 0;
}

/* Count and fail the calls on this descriptor from now on; its bytes are counted from 0. */
int ff_shim_mark(int fd)
{
    if (fd < 0 || fd >= DESCRIPTORS)
        return -1;
    marked[fd] = 1;
    bytes[RECEIVED][fd] = bytes[SENT][fd] = 0;
    return 0;
}

/* Whether sockets are marked as soon as they are made; only then do calls of socket() count. */
void ff_shim_mark_new(int on) { marks_new = on; }

/* Fail the k-th call of a function, k from 1 on, and those behind it until it is `times`; 0 times is for ever. */
void ff_shim_arm(int function, long k, int kind, int value, long times)
{
    fault.kind = NONE;
    fault.function = function;
    fault.value = value;
    fault.first = k;
    fault.last = times ? k + times - 1 : LONG_MAX;
    fault.fired = 0;
    fault.kind = kind;
}

void ff_shim_disarm(void) { fault.kind = NONE; }
long ff_shim_count(int function) { return counts[function]; }
long ff_shim_fired(void) { return fault.fired; }
long long ff_shim_bytes(int fd, int direction) { return fd < 0 || fd >= DESCRIPTORS ? -1 : bytes[direction][fd]; }

/* --- What the wrappers have in common */

static int is_marked(int fd) { return fd >= 0 && fd < DESCRIPTORS && marked[fd]; }

/* Count a call; what is to happen to it. */
static enum kind strike(enum function function)
{
    long n = __atomic_add_fetch(&counts[function], 1, __ATOMIC_SEQ_CST);
    return fault.kind && fault.function == (int)function && n >= fault.first && n <= fault.last ? fault.kind : NONE;
}

static int fail(void)
{
    __atomic_add_fetch(&fault.fired, 1, __ATOMIC_SEQ_CST);
    errno = fault.value;
    return -1;
}

/* Of `size` bytes as many as the fault allows. */
static size_t shortened(size_t size)
{
    if (size <= (size_t)fault.value)
        return size;
    __atomic_add_fetch(&fault.fired, 1, __ATOMIC_SEQ_CST);
    return fault.value;
}

static size_t total(const struct iovec *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

/* The first parts, together at most as long as the fault allows; their number. */
static size_t cut(const struct iovec *parts, size_t count, struct iovec *out)
{
    size_t left = shortened(total(parts, count)), made = 0;
    for (; made < count && made < PIECES && left; made++) {
        out[made] = parts[made];
        if (out[made].iov_len > left)
            out[made].iov_len = left;
        left -= out[made].iov_len;
    }
    return made;
}

static ssize_t counted(int fd, enum direction direction, ssize_t size)
{
    if (size > 0)
        __atomic_add_fetch(&bytes[direction][fd], size, __ATOMIC_SEQ_CST);
    return size;
}

static ssize_t lie(size_t size)
{
    errno = 0;
    __atomic_add_fetch(&fault.fired, 1, __ATOMIC_SEQ_CST);
    return (ssize_t)size + fault.value;
}

static void *found(const char *name)
{
    void *next = dlsym(RTLD_NEXT, name);
    if (next == NULL)
        abort();
    return next;
}

/* `real` is the function that this one stands before. */
#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL) \
    real = (type(*)(__VA_ARGS__))found(#name)

/* A call that gives or takes `size` bytes: CALL makes it with `size`, which may be shorter by then. */
#define TRANSFER(function, direction, fd, size, is_counted, call) \
    do { \
        enum kind kind; \
        if (!is_marked(fd)) \
            return call; \
        kind = strike(function); \
        if (kind == FAIL) \
            return fail(); \
        if (kind == LIE) \
            return lie(size); \
        if (kind == SHORT) \
            size = shortened(size); \
        return (is_counted) ? counted(fd, direction, call) : call; \
    } while (0)

/* The same for an array of parts. */
#define GATHER(function, direction, fd, parts, count, is_counted, call) \
    do { \
        struct iovec cut_parts[PIECES]; \
        enum kind kind; \
        if (!is_marked(fd)) \
            return call; \
        kind = strike(function); \
        if (kind == FAIL) \
            return fail(); \
        if (kind == LIE) \
            return lie(total(parts, count)); \
        if (kind == SHORT) { \
            count = cut(parts, count, cut_parts); \
            parts = cut_parts; \
        } \
        return (is_counted) ? counted(fd, direction, call) : call; \
    } while (0)

/* A call that is done or not. */
#define PLAIN(function, is_hit, call) \
    do { \
        enum kind kind = (is_hit) ? strike(function) : NONE; \
        if (kind == FAIL) \
            return fail(); \
        if (kind == AFTER) { \
            int result = call; \
            return result == 0 || errno == EINPROGRESS ? fail() : result; \
        } \
        return call; \
    } while (0)

/* --- Receiving */

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    REAL(recv, ssize_t, int, void *, size_t, int);
    TRANSFER(RECV, RECEIVED, fd, size, !(flags & MSG_PEEK), real(fd, buffer, size, flags));
}

ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags, __SOCKADDR_ARG from, socklen_t *restrict length)
{
    REAL(recvfrom, ssize_t, int, void *, size_t, int, __SOCKADDR_ARG, socklen_t *);
    TRANSFER(RECVFROM, RECEIVED, fd, size, !(flags & MSG_PEEK), real(fd, buffer, size, flags, from, length));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg, ssize_t, int, struct msghdr *, int);
    struct iovec *parts = message->msg_iov;
    size_t count = message->msg_iovlen;
    struct msghdr given = *message;
    ssize_t got = -1;
    if (!is_marked(fd))
        return real(fd, message, flags);
    /* The kernel writes into the caller's header: lengths and flags of what came beside the bytes. */
#define CALL (given.msg_iov = parts, given.msg_iovlen = count, got = real(fd, &given, flags), \
              message->msg_namelen = given.msg_namelen, message->msg_controllen = given.msg_controllen, \
              message->msg_flags = given.msg_flags, got)
    GATHER(RECVMSG, RECEIVED, fd, parts, count, !(flags & MSG_PEEK), CALL);
#undef CALL
}

ssize_t read(int fd, void *buffer, size_t size)
{
    REAL(read, ssize_t, int, void *, size_t);
    TRANSFER(READ, RECEIVED, fd, size, 1, real(fd, buffer, size));
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    REAL(readv, ssize_t, int, const struct iovec *, int);
    GATHER(READV, RECEIVED, fd, parts, count, 1, real(fd, parts, count));
}

/* --- Sending */

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    REAL(send, ssize_t, int, const void *, size_t, int);
    TRANSFER(SEND, SENT, fd, size, 1, real(fd, buffer, size, flags));
}

ssize_t sendto(int fd, const void *buffer, size_t size, int flags, __CONST_SOCKADDR_ARG to, socklen_t length)
{
    REAL(sendto, ssize_t, int, const void *, size_t, int, __CONST_SOCKADDR_ARG, socklen_t);
    TRANSFER(SENDTO, SENT, fd, size, 1, real(fd, buffer, size, flags, to, length));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg, ssize_t, int, const struct msghdr *, int);
    struct iovec *parts = message->msg_iov;
    size_t count = message->msg_iovlen;
    struct msghdr given = *message;
    GATHER(SENDMSG, SENT, fd, parts, count, 1,
           (given.msg_iov = parts, given.msg_iovlen = count, real(fd, &given, flags)));
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    REAL(write, ssize_t, int, const void *, size_t);
    TRANSFER(WRITE, SENT, fd, size, 1, real(fd, buffer, size));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev, ssize_t, int, const struct iovec *, int);
    GATHER(WRITEV, SENT, fd, parts, count, 1, real(fd, parts, count));
}

/* --- Waiting */

static int polled(enum function function, struct pollfd *entries, nfds_t count, int *answer)
{
    nfds_t first = 0;
    while (first < count && !is_marked(entries[first].fd))
        first++;
    if (first == count)
        return 0;
    switch (strike(function)) {
    case FAIL:
        *answer = fail();
        return 1;
    case ANSWER:
        __atomic_add_fetch(&fault.fired, 1, __ATOMIC_SEQ_CST);
        for (nfds_t i = 0; i < count; i++)
            entries[i].revents = 0;
        entries[first].revents = (short)fault.value;
        *answer = fault.value != 0;
        return 1;
    default:
        return 0;
    }
}

int poll(struct pollfd *entries, nfds_t count, int timeout)
{
    REAL(poll, int, struct pollfd *, nfds_t, int);
    int answer;
    return polled(POLL, entries, count, &answer) ? answer : real(entries, count, timeout);
}

int ppoll(struct pollfd *entries, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    REAL(ppoll, int, struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    int answer;
    return polled(PPOLL, entries, count, &answer) ? answer : real(entries, count, timeout, mask);
}

/* --- The life of a descriptor */

static int made(int fd)
{
    if (marks_new && fd >= 0)
        ff_shim_mark(fd);
    return fd;
}

int socket(int domain, int type, int protocol)
{
    REAL(socket, int, int, int, int);
    PLAIN(SOCKET, marks_new, made(real(domain, type, protocol)));
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
    REAL(connect, int, int, __CONST_SOCKADDR_ARG, socklen_t);
    PLAIN(CONNECT, is_marked(fd), real(fd, address, length));
}

int accept(int fd, __SOCKADDR_ARG address, socklen_t *restrict length)
{
    REAL(accept, int, int, __SOCKADDR_ARG, socklen_t *);
    PLAIN(ACCEPT, is_marked(fd), made(real(fd, address, length)));
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict length, int flags)
{
    REAL(accept4, int, int, __SOCKADDR_ARG, socklen_t *, int);
    PLAIN(ACCEPT4, is_marked(fd), made(real(fd, address, length, flags)));
}

int close(int fd)
{
    REAL(close, int, int);
    int hit = is_marked(fd);
    if (hit)
        marked[fd] = 0; /* first: the number may be another's as soon as it is closed */
    PLAIN(CLOSE, hit, real(fd));
}

int shutdown(int fd, int how)
{
    REAL(shutdown, int, int, int);
    PLAIN(SHUTDOWN, is_marked(fd), real(fd, how));
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length)
{
    REAL(getsockopt, int, int, int, int, void *, socklen_t *);
    PLAIN(GETSOCKOPT, is_marked(fd), real(fd, level, name, value, length));
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    REAL(setsockopt, int, int, int, int, const void *, socklen_t);
    PLAIN(SETSOCKOPT, is_marked(fd), real(fd, level, name, value, length));
}

/* A copy of a descriptor is marked as it is, or as little; its own bytes are counted. */
static int copied(int from, int to)
{
    if (to >= 0 && to < DESCRIPTORS) {
        int was = is_marked(to);
        marked[to] = is_marked(from);
        if (marked[to] && !was)
            bytes[RECEIVED][to] = bytes[SENT][to] = 0;
    }
    return to;
}

int dup(int fd)
{
    REAL(dup, int, int);
    return copied(fd, real(fd));
}

int dup2(int fd, int to)
{
    REAL(dup2, int, int, int);
    return copied(fd, real(fd, to));
}

int dup3(int fd, int to, int flags)
{
    REAL(dup3, int, int, int, int);
    return copied(fd, real(fd, to, flags));
}

/* Its third argument, if it has one, is an int or a pointer. */
#define FCNTL(name) \
    int name(int fd, int command, ...) \
    { \
        REAL(name, int, int, int, ...); \
        va_list rest; \
        void *third; \
        va_start(rest, command); \
        third = va_arg(rest, void *); \
        va_end(rest); \
        if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) \
            return copied(fd, real(fd, command, third)); \
        return real(fd, command, third); \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

/* --- What _FORTIFY_SOURCE makes of some of these */

static void checked(size_t size, size_t room)
{
    if (size > room)
        abort();
}

ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
    checked(size, room);
    return recv(fd, buffer, size, flags);
}

ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags, __SOCKADDR_ARG from,
                       socklen_t *restrict length)
{
    checked(size, room);
    return recvfrom(fd, buffer, size, flags, from, length);
}

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    checked(size, room);
    return read(fd, buffer, size);
}

int __poll_chk(struct pollfd *entries, nfds_t count, int timeout, size_t room)
{
    checked(count * sizeof(*entries), room);
    return poll(entries, count, timeout);
}

int __ppoll_chk(struct pollfd *entries, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
    checked(count * sizeof(*entries), room);
    return ppoll(entries, count, timeout, mask);
}
