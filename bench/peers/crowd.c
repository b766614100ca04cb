/* A crowd of clients for an echo server of frames, on one processor, which it doesn't leave: it never sleeps.
 *
 *   crowd PORT idle COUNT                                  connects, has one frame come back on each connection, prints
 *                                                          {"connected": COUNT, "connect": seconds}, and waits for a line
 *   crowd PORT HONEST RATE WARM SECONDS                    so many requests a second on HONEST connections, one connection
 *                                                          after another, for WARM seconds and then SECONDS that count
 *   crowd PORT HONEST RATE WARM SECONDS slow COUNT SPREAD INTERVAL
 *                                                          beside COUNT that send a byte each INTERVAL seconds, the first
 *                                                          bytes spread over SPREAD seconds
 *   crowd PORT HONEST RATE WARM SECONDS greedy             beside one that sends as fast as it can
 *
 * A request goes out when it is due, whether or not others came back, and its latency is counted from then: a server that
 * stops for a while doesn't slow down the clock. Every answer is compared. Prints a line of JSON; exit status 1 and a line
 * on stderr if an answer is wrong.
 */
#include "peer.h"

#define PAYLOAD 64
#define FRAME (HEADER + PAYLOAD)
#define AT_ONCE 500     /* connections that are opened before the server has to show that it keeps up */
#define PORTS 10000     /* connections from one address */
#define GREEDY 240      /* frames that the greedy client sends at once: few, so that it holds up nobody else here */
#define PATIENCE 10.0   /* seconds for what should have come back */
#define SECRET 0x9E3779B97F4A7C15u

struct client {
    int fd;
    uint32_t number, part; /* which one it is; the bytes of a frame that has begun to come back */
    uint64_t answers;
    double begun;          /* when its first byte went out, if it is slow */
};

static int poller, port;
static struct client *honest, *slow;
static uint32_t honest_count, slow_count;
static double rate, start;
static uint64_t warm, total, answered, unanswered, lost;
static float *latency, *lag;
static double earliest = 1e9, latest;
static uint32_t closed;
static uint8_t buffer[BUFFER];

static double now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static void wrong(const char *what)
{
    errno = 0;
    fail(what);
}

static void request(uint8_t *frame, uint64_t index, uint32_t number)
{
    uint64_t secret = (number + 1) * SECRET;
    memset(frame, 0, HEADER - 1);
    frame[HEADER - 1] = PAYLOAD;
    memcpy(frame + HEADER, &index, 8);
    for (int i = 8; i < PAYLOAD; i += 8)
        memcpy(frame + HEADER + i, &secret, 8);
}

static int opened(uint32_t number)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)}, here = {.sin_family = AF_INET};
    struct linger linger = {.l_onoff = 1}; /* a reset at the end: no port is left waiting */
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / PORTS);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) || connect(fd, (struct sockaddr *)&there, sizeof there))
        fail("connect");
    return fd;
}

/* One frame there and back, while nothing else is under way. */
static void round_trip(int fd)
{
    uint8_t frame[FRAME], answer[FRAME];
    struct timeval patience = {.tv_sec = PATIENCE};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    request(frame, 0, fd);
    send_all(fd, frame, FRAME);
    for (size_t got = 0; got < FRAME;) {
        ssize_t step = recv(fd, answer + got, FRAME - got, 0);
        if (step <= 0)
            fail("a new client's answer");
        got += step;
    }
    if (memcmp(frame, answer, FRAME))
        wrong("a new client's answer is wrong");
}

/* first: the number of those that are open already. */
static struct client *crowd_of(uint32_t count, uint32_t first)
{
    struct client *all = calloc(count + 1, sizeof *all);
    if (all == NULL)
        fail("calloc");
    for (uint32_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].number = first + i;
        all[i].fd = opened(first + i);
        if (epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event))
            fail("epoll");
        if (i % AT_ONCE == AT_ONCE - 1 || i == count - 1)
            round_trip(all[i].fd);
    }
    return all;
}

static double due(uint64_t index)
{
    return start + index / rate;
}

static void gone(struct client *client)
{
    close(client->fd);
    client->fd = -1;
}

static void ask(uint64_t index, double when)
{
    struct client *client = &honest[index % honest_count];
    uint8_t frame[FRAME];
    if (index >= warm)
        lag[index - warm] = when - due(index);
    request(frame, index, client->number);
    if (client->fd < 0)
        return;
    if (send(client->fd, frame, FRAME, MSG_DONTWAIT | MSG_NOSIGNAL) != FRAME && errno == EAGAIN)
        wrong("the server doesn't read a request");
}

/* What has come for an honest client: answers, in their order. */
static void answer(struct client *client)
{
    ssize_t got = recv(client->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lost++;
        gone(client);
        return;
    }
    double when = now();
    for (ssize_t i = 0; i < got;) {
        uint64_t index = client->answers * honest_count + (client - honest);
        size_t step = FRAME - client->part < (size_t)(got - i) ? FRAME - client->part : (size_t)(got - i);
        uint8_t frame[FRAME];
        request(frame, index, client->number);
        if (memcmp(buffer + i, frame + client->part, step))
            wrong("a wrong answer");
        i += step;
        client->part = (client->part + step) % FRAME;
        if (client->part)
            continue;
        client->answers++;
        answered++;
        if (index >= warm && index < total)
            latency[index - warm] = when - due(index);
    }
}

/* A slow client has got something: that can only be the end. */
static void ended(struct client *client)
{
    ssize_t got = recv(client->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        wrong("an answer to a slow client");
    if (!client->begun)
        wrong("a slow client was closed before its first byte");
    double lived = now() - client->begun;
    earliest = lived < earliest ? lived : earliest;
    latest = lived > latest ? lived : latest;
    closed++;
    gone(client);
}

/* Bytes of slow clients that are due; they are numbered on from round to round. */
static void trickle(double spread, double interval, double when)
{
    static uint64_t next;
    static const uint8_t lead[FRAME] = {0, 0, 0, PAYLOAD};
    while (slow_count) {
        uint64_t round = next / slow_count;
        struct client *client = &slow[next % slow_count];
        if (start + round * interval + next % slow_count * spread / slow_count > when)
            return;
        next++;
        if (client->fd < 0)
            continue;
        if (!round)
            client->begun = now();
        send(client->fd, &lead[round % FRAME], 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* if it is closed by now, that is told soon */
    }
}

struct greedy {
    int fd;
    uint8_t ring[GREEDY * FRAME];
    size_t sent, got;
    uint64_t bytes;
};

static void devour(struct greedy *greedy)
{
    ssize_t sent = send(greedy->fd, greedy->ring + greedy->sent, sizeof greedy->ring - greedy->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0)
        greedy->sent = (greedy->sent + sent) % sizeof greedy->ring;
    else if (errno != EAGAIN && errno != EINTR)
        fail("the greedy client's sending");
    ssize_t got = recv(greedy->fd, buffer, sizeof greedy->ring - greedy->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        fail("the greedy client's answer");
    if (memcmp(buffer, greedy->ring + greedy->got, got))
        wrong("a wrong answer to the greedy client");
    greedy->got = (greedy->got + got) % sizeof greedy->ring;
    greedy->bytes += got;
}

static int by_size(const void *a, const void *b)
{
    float one = *(const float *)a, other = *(const float *)b;
    return (one > other) - (one < other);
}

static void tell(const char *name, float *all, uint64_t count)
{
    qsort(all, count, sizeof *all, by_size);
    printf("\"%s\": {\"p50\": %.7f, \"p99\": %.7f, \"p999\": %.7f, \"most\": %.7f}, ", name, all[count / 2],
           all[count - count / 100 - 1], all[count - count / 1000 - 1], all[count - 1]);
}

static void idle(uint32_t count)
{
    double begun = now();
    struct client *all = crowd_of(count, 0);
    for (uint32_t i = 0; i < count; i++)
        round_trip(all[i].fd);
    printf("{\"connected\": %u, \"connect\": %.6f}\n", count, now() - begun);
    fflush(stdout);
    getchar();
}

static void run(double seconds, double spread, double interval, int greeds)
{
    static struct greedy greedy;
    struct epoll_event events[256];
    double connecting = now();
    honest = crowd_of(honest_count, 0);
    slow = crowd_of(slow_count, honest_count);
    connecting = now() - connecting;
    if (greeds) {
        greedy.fd = opened(honest_count);
        for (int i = 0; i < GREEDY; i++)
            request(greedy.ring + i * FRAME, i, honest_count);
    }
    latency = calloc(total - warm, sizeof *latency);
    lag = calloc(total - warm, sizeof *lag);
    if (latency == NULL || lag == NULL)
        fail("calloc");
    start = now() + 0.01;
    for (uint64_t sent = 0;;) {
        double when = now();
        if ((answered == total && closed == slow_count) || when > due(total) + PATIENCE)
            break;
        for (int i = 0; i < 32 && sent < total && due(sent) <= when; i++)
            ask(sent++, when);
        trickle(spread, interval, when);
        if (greeds && when < due(total))
            devour(&greedy);
        int ready = epoll_wait(poller, events, 256, 0);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0)
                (client >= honest && client < honest + honest_count ? answer : ended)(client);
        }
    }
    for (uint64_t i = 0; i < total - warm; i++)
        if (latency[i] == 0) {
            unanswered++;
            latency[i] = seconds + PATIENCE;
        }
    printf("{");
    tell("latency", latency, total - warm);
    tell("lag", lag, total - warm);
    if (slow_count)
        printf("\"slow\": {\"connected\": %u, \"closed\": %u, \"earliest\": %.6f, \"latest\": %.6f}, ", slow_count, closed, earliest,
               latest);
    if (greeds)
        printf("\"greedy\": %.0f, ", greedy.bytes / FRAME / (seconds + warm / rate));
    printf("\"connected\": %u, \"connect\": %.6f, \"requests\": %lu, \"unanswered\": %lu, \"lost\": %lu}\n", honest_count + slow_count,
           connecting, (unsigned long)(total - warm), (unsigned long)unanswered, (unsigned long)lost);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    int greeds = argc == 7 && !strcmp(argv[6], "greedy"), slows = argc == 10 && !strcmp(argv[6], "slow");
    if (getrlimit(RLIMIT_NOFILE, &limit))
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        fail("setrlimit");
    poller = epoll_create1(0);
    if (poller < 0)
        fail("epoll");
    port = argc > 1 ? atoi(argv[1]) : 0;
    if (argc == 4 && !strcmp(argv[2], "idle")) {
        idle(atoi(argv[3]));
    } else if (argc == 6 || greeds || slows) {
        honest_count = atoi(argv[2]);
        rate = atof(argv[3]);
        warm = rate * atof(argv[4]);
        total = warm + rate * atof(argv[5]);
        slow_count = slows ? atoi(argv[7]) : 0;
        run(atof(argv[5]), slows ? atof(argv[8]) : 0, slows ? atof(argv[9]) : 0, greeds);
    } else
        wrong("usage: crowd PORT ..., see crowd.c");
    return 0;
}
