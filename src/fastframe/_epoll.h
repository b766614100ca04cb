/* Which of many descriptors are ready, as Linux tells it. */
#ifndef FASTFRAME_EPOLL_H
#define FASTFRAME_EPOLL_H

#ifdef __linux__

#include <sys/epoll.h>
#include <unistd.h>

typedef struct epoll_event ff_event;

#define FF_EPOLL 1

static inline int ff_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

/* What isn't wanted is taken out: epoll would tell of a hang-up even then, again and again. */
static inline int ff_epoll_watch(int poller, int number, int wants, int before)
{
    ff_event event;
    event.events = (uint32_t)wants;
    event.data.u64 = (uint32_t)number;
    return epoll_ctl(poller, wants ? before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD : EPOLL_CTL_DEL, number, &event);
}

static inline int ff_epoll_wait(int poller, ff_event *events, int most, int milliseconds)
{
    return epoll_wait(poller, events, most, milliseconds);
}

static inline int ff_event_number(const ff_event *event) { return (int)event->data.u64; }
static inline int ff_event_bits(const ff_event *event) { return (int)event->events; }
static inline void ff_epoll_close(int poller) { (void)close(poller); }

#else

/* Never called. */
typedef int ff_event;

#define FF_EPOLL 0

static inline int ff_epoll_create(void) { return -1; }

static inline int ff_epoll_watch(int poller, int number, int wants, int before)
{
    (void)poller;
    (void)number;
    (void)wants;
    (void)before;
    return -1;
}

static inline int ff_epoll_wait(int poller, ff_event *events, int most, int milliseconds)
{
    (void)poller;
    (void)events;
    (void)most;
    (void)milliseconds;
    return -1;
}

static inline int ff_event_number(const ff_event *event) { return *event; }
static inline int ff_event_bits(const ff_event *event) { return *event; }
static inline void ff_epoll_close(int poller) { (void)poller; }

#endif

#endif
