"""Every errno that each call may answer with, by the manual pages: man 2 of the call, and man 7 tcp, ip and unix.

A name stands under its call; that some of them can't happen to a connected stream socket makes no difference.
"""

import errno

PROTOCOL = "ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN ENOBUFS EIO"
"""What a socket's protocol adds to reading and writing: the pages of section 2 refer to those of section 7."""

RECV = f"EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK {PROTOCOL}"
SEND = (
    "EACCES EAGAIN EALREADY EBADF EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE ENOMEM ENOTCONN ENOTSOCK"
    f" EOPNOTSUPP EPERM {PROTOCOL}"
)
READ = f"EAGAIN EBADF EFAULT EINTR EINVAL EISDIR {PROTOCOL}"
WRITE = f"EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL ENOSPC EPERM {PROTOCOL}"
POLL = "EFAULT EINTR EINVAL ENOMEM"
ACCEPT = (
    "EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM ENOTSOCK EOPNOTSUPP EPERM EPROTO"
    " ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH ENETUNREACH ENOSR ESOCKTNOSUPPORT EPROTONOSUPPORT ETIMEDOUT"
)
OPTION = "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK"

NAMES = {
    "recv": RECV,
    "recvfrom": RECV,
    "recvmsg": RECV,
    "read": READ,
    "readv": f"{READ} EOPNOTSUPP",
    "send": SEND,
    "sendto": SEND,
    "sendmsg": f"{SEND} ETOOMANYREFS",
    "write": WRITE,
    "writev": f"{WRITE} EOPNOTSUPP",
    "poll": POLL,
    "ppoll": POLL,
    "connect": (
        "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNREFUSED EFAULT EHOSTUNREACH"
        " EINPROGRESS EINTR EISCONN ENETUNREACH ENOTSOCK EPERM EPROTOTYPE ETIMEDOUT"
    ),
    "accept": ACCEPT,
    "accept4": ACCEPT,
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "close": "EBADF EINTR EIO ENOSPC EDQUOT",
    "shutdown": "EBADF EINVAL ENOTCONN ENOTSOCK",
    "getsockopt": OPTION,
    "setsockopt": OPTION,
}

ERRNOS = {call: sorted({getattr(errno, name) for name in names.split()}) for call, names in NAMES.items()}
"""The numbers, for each call."""
