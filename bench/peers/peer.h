/* What the C programs of the benchmark share: endpoints, files of frames, clocks, and errors that end the program. */
#ifndef PEER_H
#define PEER_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEADER 4
#define BUFFER (256 * 1024)

static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static inline uint32_t length_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline double seconds_of(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now))
        fail("clock_gettime");
    return now.tv_sec + now.tv_nsec / 1e9;
}

static inline double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* zlib's CRC-32, to be begun with 0. */
static inline uint32_t crc_of(uint32_t crc, const uint8_t *data, size_t size)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
            table[i] = value;
        }
    crc = ~crc;
    while (size--)
        crc = table[(crc ^ *data++) & 0xFF] ^ crc >> 8;
    return ~crc;
}

/* A socket for "tcp:PORT" or "unix:PATH", and its address. */
static inline int socket_for(const char *endpoint, struct sockaddr_storage *address, socklen_t *size)
{
    int fd, on = 1;
    memset(address, 0, sizeof *address);
    if (!strncmp(endpoint, "tcp:", 4)) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        in->sin_family = AF_INET;
        in->sin_port = htons(atoi(endpoint + 4));
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *size = sizeof *in;
    } else {
        struct sockaddr_un *un = (struct sockaddr_un *)address;
        un->sun_family = AF_UNIX;
        strncpy(un->sun_path, endpoint + 5, sizeof un->sun_path - 1);
        *size = sizeof *un;
    }
    fd = socket(address->ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    if (address->ss_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

static inline int connected(const char *endpoint)
{
    struct sockaddr_storage address;
    socklen_t size;
    int fd = socket_for(endpoint, &address, &size);
    if (connect(fd, (struct sockaddr *)&address, size))
        fail(endpoint);
    return fd;
}

/* Listens, and says so. Accepted sockets inherit TCP_NODELAY. */
static inline int listening(const char *endpoint)
{
    struct sockaddr_storage address;
    socklen_t size;
    int fd = socket_for(endpoint, &address, &size);
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096))
        fail(endpoint);
    puts("ready");
    fflush(stdout);
    return fd;
}

static inline int accepted(const char *endpoint)
{
    int fd = accept(listening(endpoint), NULL, NULL);
    if (fd < 0)
        fail("accept");
    return fd;
}

static inline void nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
        fail("fcntl");
}

static inline void wait_for(int fd, short events)
{
    struct pollfd entry = {.fd = fd, .events = events};
    if (poll(&entry, 1, -1) < 0 && errno != EINTR)
        fail("poll");
}

/* The bytes of a file, which holds whole frames. */
static inline const uint8_t *mapped(const char *path, size_t *size)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) || !status.st_size)
        fail(path);
    const uint8_t *data = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED)
        fail(path);
    *size = status.st_size;
    return data;
}

static inline void *allocated(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        fail("malloc");
    return memory;
}

static inline void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            wait_for(fd, POLLOUT);
        else if (sent < 0 && errno != EINTR)
            fail("send");
        else if (sent > 0)
            data += sent, size -= sent;
    }
}

/* What was done since the first `warm` frames, and their CRC. */
struct tally {
    uint64_t warm, frames, bytes;
    uint32_t crc;
    double cpu, wall;
};

static inline void start_clock(struct tally *tally)
{
    tally->warm = tally->frames = tally->bytes = 0;
    tally->wall = seconds_of(CLOCK_MONOTONIC);
    tally->cpu = cpu_seconds();
}

static inline void report(struct tally *tally)
{
    double cpu = cpu_seconds() - tally->cpu, wall = seconds_of(CLOCK_MONOTONIC) - tally->wall;
    printf("{\"crc\": %lu, \"frames\": %lu, \"bytes\": %lu, \"cpu\": %.9f, \"wall\": %.9f}\n", (unsigned long)tally->crc,
           (unsigned long)tally->frames, (unsigned long)tally->bytes, cpu, wall);
}

#endif
