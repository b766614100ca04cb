/* The other end of a contender: where its frames come from, where they go, and clients for its server.
 *
 *   load source ENDPOINT FILE TIMES          listens, and sends FILE so many times
 *   load sink ENDPOINT FILE TIMES            listens, and compares what comes with FILE, so many times; then discards.
 *                                            Prints {"bytes": all that came}
 *   load clients ENDPOINT FILE CONNECTIONS IN_FLIGHT WARM FRAMES PID
 *                                            connects, keeps IN_FLIGHT frames of FILE under way on each connection, and
 *                                            compares what comes back; prints frames, cpu and wall of process PID
 *
 * The frames of FILE are equally long for `clients`.
 */
#include "peer.h"

static void source(const char *endpoint, const char *path, uint64_t times)
{
    size_t size;
    const uint8_t *data = mapped(path, &size);
    int fd = accepted(endpoint);
    while (times--)
        send_all(fd, data, size);
    shutdown(fd, SHUT_WR);
    wait_for(fd, POLLRDHUP);
}

static void sink(const char *endpoint, const char *path, uint64_t times)
{
    static uint8_t buffer[1 << 20];
    size_t size, at = 0;
    const uint8_t *data = mapped(path, &size);
    uint64_t checked = size * times, total = 0;
    int fd = accepted(endpoint);
    /* TCP throws away what it isn't asked to copy. */
    int flags = strncmp(endpoint, "tcp:", 4) ? 0 : MSG_TRUNC;
    for (;;) {
        int check = total < checked;
        ssize_t got = recv(fd, check || !flags ? buffer : NULL, sizeof buffer, check ? 0 : flags);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            fail("recv");
        if (!got)
            break;
        for (ssize_t i = 0; check && i < got && total + i < checked;) {
            size_t step = size - at < (size_t)(got - i) ? size - at : (size_t)(got - i);
            if (step > checked - total - i)
                step = checked - total - i;
            if (memcmp(buffer + i, data + at, step)) {
                errno = 0;
                fail("wrong bytes came");
            }
            at = at + step == size ? 0 : at + step;
            i += step;
        }
        total += got;
    }
    if (total < checked)
        fail("the stream ended too early");
    printf("{\"bytes\": %lu}\n", (unsigned long)total);
}

struct client {
    int fd;
    size_t sent, got, part; /* where in FILE the next byte stands; the bytes of a frame that has begun to come back */
};

static const uint8_t *data;
static size_t size, frame;

static void send_ring(struct client *client, size_t count)
{
    while (count) {
        size_t step = size - client->sent < count ? size - client->sent : count;
        send_all(client->fd, data + client->sent, step);
        client->sent = client->sent + step == size ? 0 : client->sent + step;
        count -= step;
    }
}

/* Frames that came back whole; the next ones are on their way. */
static uint64_t turn(struct client *client, uint8_t *buffer)
{
    ssize_t got = recv(client->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        fail("the server's answer");
    for (ssize_t i = 0; i < got;) {
        size_t step = size - client->got < (size_t)(got - i) ? size - client->got : (size_t)(got - i);
        if (memcmp(buffer + i, data + client->got, step)) {
            errno = 0;
            fail("a wrong answer");
        }
        client->got = client->got + step == size ? 0 : client->got + step;
        i += step;
    }
    client->part += got;
    uint64_t whole = client->part / frame;
    client->part %= frame;
    send_ring(client, whole * frame);
    return whole;
}

static void clients(const char *endpoint, int connections, uint64_t in_flight, uint64_t warm, uint64_t frames, pid_t pid)
{
    struct client *all = calloc(connections, sizeof *all);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    uint8_t *buffer = allocated(BUFFER);
    int poller = epoll_create1(0);
    uint64_t done = 0, begun = 0, window = connections * in_flight;
    double cpu = 0, wall = 0;
    clockid_t clock;
    if (all == NULL || poller < 0 || clock_getcpuclockid(pid, &clock))
        fail("the server's clock");
    frame = HEADER + length_at(data);
    for (int i = 0; i < connections; i++) {
        all[i].fd = connected(endpoint);
        all[i].sent = all[i].got = (size_t)i * 7 % (size / frame) * frame;
        event.data.ptr = &all[i];
        if (epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event))
            fail("epoll");
    }
    for (int i = 0; i < connections; i++)
        send_ring(&all[i], in_flight * frame);
    while (!begun || done < begun + frames) {
        int ready = epoll_wait(poller, events, 256, 10000);
        if (!ready)
            fail("no answer within ten seconds");
        for (int i = 0; i < ready; i++)
            done += turn(events[i].data.ptr, buffer);
        if (!begun && done >= warm && done >= window) { /* the first of all go out at once: no server's usual work */
            begun = done;
            wall = seconds_of(CLOCK_MONOTONIC);
            cpu = seconds_of(clock);
        }
    }
    cpu = seconds_of(clock) - cpu;
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    printf("{\"frames\": %lu, \"cpu\": %.9f, \"wall\": %.9f}\n", (unsigned long)(done - begun), cpu, wall);
}

int main(int argc, char **argv)
{
    const char *work = argc > 1 ? argv[1] : "";
    if (argc == 5 && !strcmp(work, "source"))
        source(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    else if (argc == 5 && !strcmp(work, "sink"))
        sink(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    else if (argc == 9 && !strcmp(work, "clients")) {
        data = mapped(argv[3], &size);
        clients(argv[2], atoi(argv[4]), strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10), strtoull(argv[7], NULL, 10),
                atoi(argv[8]));
    } else
        fail("usage: load source|sink|clients ARGUMENT..., see load.c");
    return 0;
}
