/* The benchmark's reference: the work of a contender as a C program does it.
 *
 * c: nonblocking recv into 256 KiB, parse, and malloc, memcpy and free for each frame; frames of 128 KiB and more are
 * received straight into their object. c-views: parsed where they lie. c-list, for parsing in memory: the frames of a
 * chunk are kept, as a list would, and freed together.
 */
#include "peer.h"

enum { COPY, VIEW, LIST };

#define STRAIGHT (128 * 1024)
#define LITTLE 4096 /* is received behind a large frame: another one may follow */
#define CHUNK (64 * 1024)

static int way;
static struct tally tally;
static void *kept[CHUNK];
static size_t kept_count;

/* Hands a payload over. */
static inline void take(const uint8_t *payload, size_t size)
{
    if (__builtin_expect(tally.warm > 0, 0)) {
        tally.crc = crc_of(tally.crc, payload, size);
        tally.warm--;
    }
    tally.frames++;
    tally.bytes += size;
}

static inline void copy_out(const uint8_t *payload, size_t size)
{
    void *frame = allocated(size + 1);
    memcpy(frame, payload, size);
    take(frame, size);
    if (way == LIST) {
        kept[kept_count++] = frame;
    } else {
        __asm__ volatile("" : : "r"(frame) : "memory");
        free(frame);
    }
}

/* Takes the whole frames in `size` bytes; returns the bytes they had. */
static size_t parse(const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (size - at >= HEADER) {
        size_t length = length_at(data + at);
        if (length > size - at - HEADER)
            break;
        if (way == VIEW)
            take(data + at + HEADER, length);
        else
            copy_out(data + at + HEADER, length);
        at += HEADER + length;
    }
    while (kept_count)
        free(kept[--kept_count]);
    return at;
}

/* Bytes received, 0 at the end. */
static size_t receive_some(int fd, int poller, uint8_t *data, size_t size)
{
    struct epoll_event event;
    for (;;) {
        ssize_t got = recv(fd, data, size, MSG_DONTWAIT);
        if (got >= 0)
            return got;
        if (errno != EAGAIN && errno != EINTR)
            fail("recv");
        if (epoll_wait(poller, &event, 1, -1) < 0 && errno != EINTR)
            fail("epoll_wait");
    }
}

/* The rest of a large frame, straight into its object. */
static void receive_straight(int fd, int poller, const uint8_t *begin, size_t have, size_t length)
{
    uint8_t *frame = allocated(length + 1);
    memcpy(frame, begin, have);
    while (have < length) {
        size_t got = receive_some(fd, poller, frame + have, length - have);
        if (!got)
            fail("the stream ended inside a frame");
        have += got;
    }
    take(frame, length);
    free(frame);
}

static void receive(const char *endpoint, uint64_t warm, uint64_t frames)
{
    int fd = connected(endpoint), poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    size_t room = BUFFER, held = 0, ask = BUFFER, used, got;
    uint8_t *buffer = allocated(room);
    uint64_t passed = 0;
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("epoll");
    tally.warm = warm;
    do {
        got = receive_some(fd, poller, buffer + held, ask < room - held ? ask : room - held);
        held += got;
        used = parse(buffer, held);
        held -= used;
        memmove(buffer, buffer + used, held);
        ask = room;
        if (held >= HEADER && length_at(buffer) >= STRAIGHT && way == COPY) {
            receive_straight(fd, poller, buffer + HEADER, held - HEADER, length_at(buffer));
            held = 0;
            ask = LITTLE;
        } else if (held >= HEADER && length_at(buffer) + HEADER > room) {
            ask = room = length_at(buffer) + HEADER;
            buffer = realloc(buffer, room);
            if (buffer == NULL)
                fail("realloc");
        }
        if (!passed && tally.frames >= warm) {
            passed = tally.frames;
            start_clock(&tally);
        }
    } while (got);
    if (held || !passed || passed + tally.frames < warm + frames)
        fail("the stream ended too early");
    report(&tally);
}

/* `count` frames from `data`, which holds `size` bytes, from `at` on; returns where the next one begins. */
static size_t send_each(int fd, const uint8_t *data, size_t size, size_t at, uint64_t count)
{
    while (count--) {
        size_t length = length_at(data + at);
        uint8_t header[HEADER];
        struct iovec parts[2] = {{header, HEADER}, {(void *)(data + at + HEADER), length}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent;
        uint32_t coded = htonl(length);
        memcpy(header, &coded, HEADER);
        while ((sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0) {
            if (errno != EAGAIN && errno != EINTR)
                fail("sendmsg");
            wait_for(fd, POLLOUT);
        }
        if ((size_t)sent < HEADER)
            send_all(fd, header + sent, HEADER - sent), sent = HEADER;
        if ((size_t)sent < HEADER + length)
            send_all(fd, data + at + sent, HEADER + length - sent);
        tally.frames++;
        tally.bytes += length;
        at += HEADER + length;
        if (at == size)
            at = 0;
    }
    return at;
}

/* The same through one buffer of 256 KiB; larger payloads are sent from where they lie. */
static size_t send_gathered(int fd, const uint8_t *data, size_t size, size_t at, uint64_t count)
{
    static uint8_t buffer[BUFFER];
    size_t held = 0;
    while (count--) {
        size_t length = length_at(data + at);
        if (length + HEADER > BUFFER - held) {
            send_all(fd, buffer, held);
            held = 0;
        }
        if (length + HEADER > BUFFER) {
            at = send_each(fd, data, size, at, 1);
            continue;
        }
        uint32_t coded = htonl(length);
        memcpy(buffer + held, &coded, HEADER);
        memcpy(buffer + held + HEADER, data + at + HEADER, length);
        held += HEADER + length;
        tally.frames++;
        tally.bytes += length;
        at += HEADER + length;
        if (at == size)
            at = 0;
    }
    send_all(fd, buffer, held);
    return at;
}

static void send_frames(const char *endpoint, const char *path, uint64_t warm, uint64_t frames, uint64_t batch)
{
    size_t size, at;
    const uint8_t *data = mapped(path, &size);
    size_t (*run)(int, const uint8_t *, size_t, size_t, uint64_t) = batch > 1 ? send_gathered : send_each;
    int fd = connected(endpoint);
    at = run(fd, data, size, 0, warm);
    start_clock(&tally);
    run(fd, data, size, at, frames);
    report(&tally);
    shutdown(fd, SHUT_WR);
}

struct client {
    int fd;
    size_t held; /* received, the beginning of a frame */
    size_t pending; /* to be sent */
    size_t held_room, pending_room;
    uint8_t *rest, *out;
};

static void keep(uint8_t **memory, size_t *room, const uint8_t *data, size_t size)
{
    if (size > *room) {
        *room = size;
        *memory = realloc(*memory, size);
        if (*memory == NULL)
            fail("realloc");
    }
    memmove(*memory, data, size);
}

static int serve(struct client *client, uint8_t *in, uint8_t *out)
{
    size_t size = client->held, at = 0, made = 0;
    ssize_t got, sent;
    if (size)
        memcpy(in, client->rest, size);
    got = recv(client->fd, in + size, BUFFER - size, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (!got)
        return 0;
    size += got;
    while (size - at >= HEADER && length_at(in + at) <= size - at - HEADER) {
        size_t length = length_at(in + at);
        uint32_t coded = htonl(length);
        memcpy(out + made, &coded, HEADER);
        memcpy(out + made + HEADER, in + at + HEADER, length);
        made += HEADER + length;
        at += HEADER + length;
    }
    client->held = size - at;
    if (client->held)
        keep(&client->rest, &client->held_room, in + at, size - at);
    if (!made)
        return 1;
    sent = send(client->fd, out, made, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        sent = 0;
    client->pending = made - sent;
    if (client->pending)
        keep(&client->out, &client->pending_room, out + sent, client->pending);
    return 1;
}

static int drain(struct client *client)
{
    ssize_t sent = send(client->fd, client->out, client->pending, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    client->pending -= sent;
    memmove(client->out, client->out + sent, client->pending);
    return 1;
}

/* Frames of at most 256 KiB less their header. */
static void echo(const char *endpoint)
{
    int listener = listening(endpoint), poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    uint8_t *in = allocated(BUFFER), *out = allocated(BUFFER);
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client == NULL) {
                client = calloc(1, sizeof *client);
                if (client == NULL || (client->fd = accept(listener, NULL, NULL)) < 0)
                    fail("accept");
                event.data.ptr = client;
                epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event);
                continue;
            }
            size_t before = client->pending;
            if (!(before ? drain(client) : serve(client, in, out))) {
                close(client->fd);
                free(client->rest);
                free(client->out);
                free(client);
            } else if (!before != !client->pending) {
                event.events = client->pending ? EPOLLOUT : EPOLLIN;
                event.data.ptr = client;
                epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
                event.events = EPOLLIN;
            }
        }
    }
}

static void trip(const char *endpoint, const char *path, uint64_t warm, uint64_t frames)
{
    size_t size, at = 0, most = 0;
    const uint8_t *data = mapped(path, &size);
    int fd = connected(endpoint);
    for (size_t i = 0; i < size; i += HEADER + length_at(data + i))
        if (length_at(data + i) > most)
            most = length_at(data + i);
    uint8_t *answer = allocated(HEADER + most);
    for (uint64_t i = 0; i < warm + frames; i++) {
        size_t length = HEADER + length_at(data + at), have = 0;
        if (i == warm)
            start_clock(&tally);
        send_all(fd, data + at, length);
        while (have < length) {
            ssize_t got = recv(fd, answer + have, length - have, 0);
            if (got <= 0)
                fail("recv");
            have += got;
        }
        if (i < warm) {
            if (memcmp(answer, data + at, length))
                fail("a wrong answer");
            tally.crc = crc_of(tally.crc, answer + HEADER, length - HEADER);
        }
        tally.frames++;
        tally.bytes += length - HEADER;
        at = at + length == size ? 0 : at + length;
    }
    report(&tally);
}

static void parse_file(const char *path, uint64_t warm, uint64_t frames)
{
    size_t size, at = 0, held = 0, room = 2 * CHUNK;
    const uint8_t *data = mapped(path, &size);
    uint8_t *buffer = allocated(room);
    int timed = 0;
    tally.warm = warm;
    for (;;) {
        /* Whole frames are parsed in the chunk; only what a chunk leaves behind is copied. */
        size_t chunk = size - at < CHUNK ? size - at : CHUNK, used;
        if (held) {
            if (held + chunk > room) {
                room = 2 * (held + chunk);
                buffer = realloc(buffer, room);
                if (buffer == NULL)
                    fail("realloc");
            }
            memcpy(buffer + held, data + at, chunk);
            used = parse(buffer, held + chunk);
            held = held + chunk - used;
            memmove(buffer, buffer + used, held);
        } else {
            used = parse(data + at, chunk);
            held = chunk - used;
            if (held > room) {
                room = 2 * held;
                free(buffer);
                buffer = allocated(room);
            }
            memcpy(buffer, data + at + used, held);
        }
        at = at + chunk == size ? 0 : at + chunk;
        if (timed && tally.frames >= frames)
            break;
        if (!timed && tally.frames >= warm) {
            timed = 1;
            start_clock(&tally);
        }
    }
    report(&tally);
}

int main(int argc, char **argv)
{
    const char *work = argc > 2 ? argv[2] : "";
    if (argc > 1)
        way = !strcmp(argv[1], "c-views") ? VIEW : !strcmp(argv[1], "c-list") ? LIST : COPY;
    if (argc == 6 && !strcmp(work, "receive"))
        receive(argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
    else if (argc == 8 && !strcmp(work, "send"))
        send_frames(argv[3], argv[4], strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10), strtoull(argv[7], NULL, 10));
    else if (argc == 4 && !strcmp(work, "echo"))
        echo(argv[3]);
    else if (argc == 7 && !strcmp(work, "trip"))
        trip(argv[3], argv[4], strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
    else if (argc == 6 && !strcmp(work, "parse"))
        parse_file(argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
    else
        fail("usage: reference c|c-views|c-list WORK ARGUMENT..., see README.md");
    return 0;
}
