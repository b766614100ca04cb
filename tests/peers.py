"""Real programs for the tests to speak with: found, or installed where FASTFRAME_INSTALL_PEERS=1 allows it; started,
and stopped in the end whatever happens."""

import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from connections import LONG, PROMPT

INSTALL_SECONDS = 600.0

HIDDEN = ("LD_PRELOAD", "SSH_", "GIT", "PG", "PYTHON", "FASTFRAME", "ASAN_", "UBSAN_", "XDG_")
"""Variables that begin so are for these tests or their user, not for a program that they start."""


# --- Finding and installing ------------------------------------------------------------------------------------------


def program(name: str, package: str) -> str:
    """The path of a program that Debian's `package` holds. The test is skipped where it can't be had."""
    found = look_for(name)
    if found is None and os.environ.get("FASTFRAME_INSTALL_PEERS") == "1" and is_root() and shutil.which("apt-get"):
        install(package)
        found = look_for(name)
        assert found is not None, f"the package {package} is installed, and there is no {name}"
    if found is None:
        pytest.skip(f"no {name} here: apt-get install {package}, or FASTFRAME_INSTALL_PEERS=1 as root on Debian")
    return found


def look_for(name: str) -> str | None:
    """In PATH, beside this Python, and where Debian keeps what it doesn't put there."""
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), *servers]))


@functools.cache
def install(package: str) -> None:
    # In runlevel 1 a package that holds a server doesn't start it.
    said = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        run("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *words, env=said, timeout=INSTALL_SECONDS)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def account(name: str) -> dict[str, Any]:
    """How to start a program that doesn't run as root: as this account, if these tests are root themselves."""
    if not is_root():
        return {}
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        pytest.skip(f"these tests run as root, the server doesn't, and there is no account {name}")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


# --- Running ---------------------------------------------------------------------------------------------------------


def environment(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    return {**kept, "LC_ALL": "C", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **more}


def run(*command: str, env: dict[str, str] | None = None, timeout: float = LONG, **how: Any) -> bytes:
    """What the command prints; an exit code that isn't 0 is an error."""
    if "input" not in how:
        how["stdin"] = subprocess.DEVNULL
    done = subprocess.run(
        command, env=environment(env or {}), stdout=subprocess.PIPE, timeout=timeout, check=True, **how
    )
    return done.stdout


def succeeds(*command: str) -> bool:
    """Whether the command exits with 0."""
    try:
        run(*command)
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def child(*command: str, env: dict[str, str] | None = None, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program to speak with over its standard input and output."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(env or {}), stdin=pipe, stdout=pipe, **how) as process:
        try:
            yield process
        finally:
            process.kill()


UNTIL_STDIN_ENDS = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -INT $$) & exec "$@" 3<&-'
"""Run a command until it is told to end, or there is nobody any more to tell it."""


@contextmanager
def server(*command: str, ready: Callable[[], bool], **how: Any) -> Iterator[None]:
    """A program that listens, from when `ready()`. It ends with the `with`, and with this process if that is killed."""
    watched = ["/bin/sh", "-c", UNTIL_STDIN_ENDS, "sh", *command]
    how |= {"env": environment({}), "stdin": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(watched, **how) as process:
        try:
            deadline = time.monotonic() + LONG
            while not ready():
                assert process.poll() is None, f"{command[0]} has ended: {process.returncode}"
                assert time.monotonic() < deadline, f"{command[0]} isn't ready in time"
                time.sleep(0.01)
            yield
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make its whole group."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PROMPT)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# --- Places ----------------------------------------------------------------------------------------------------------


@contextmanager
def folder(user: int | None = None) -> Iterator[Path]:
    """A new folder, of this user, with a path short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="ff-") as name:
        if user is not None:
            os.chown(name, user, -1)
        yield Path(name)


def certificate(place: Path, **how: Any) -> tuple[Path, Path]:
    """A new certificate for localhost, signed by itself, and its key."""
    paths = place / "certificate.pem", place / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    where = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    run(program("openssl", "openssl"), *request.split(), *where, stderr=subprocess.DEVNULL, **how)
    return paths


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that no other process is given for an outgoing connection."""
    for port in random.sample(range(10_000, 30_000), 100):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def listens(address: Any) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as sock:
        return sock.connect_ex(address) == 0
