"""Connections over a bad network: loss, tiny packets, little bandwidth, resets in the middle, and nobody there any more.

In a network namespace of its own, by nft and tc; skipped where that isn't allowed.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import fastframe as ff
from peers import program

PACKAGE = Path(ff.__file__).parent.parent

PREPARED = """
    import hashlib, random, socket, subprocess, sys, threading, time
    import fastframe as ff

    def system(command):
        subprocess.run(command, shell=True, check=True, capture_output=True, text=True)

    def filtered(rule):
        system("nft add table inet t")
        system("nft 'add chain inet t c { type filter hook input priority 0; }'")
        system(f"nft 'add rule inet t c tcp dport 9000 {rule}'")

    framing = ff.LengthField(4)
    dice = random.Random(1)
    frames = [dice.randbytes(dice.choice((0, 1, 100, 1000, 60_000))) for _ in range(150)]
    listener = socket.create_server(("127.0.0.1", 9000))
    got, ends = [], []

    def receive():
        with ff.wrap(listener.accept()[0], framing, timeout=60) as conn:
            try:
                for frame in conn:
                    got.append(frame)
            except ff.FrameError as error:
                ends.append(error)
            else:
                ends.append(None)

    def opened():
        thread.start()
        return ff.connect(("127.0.0.1", 9000), framing, timeout=60)

    system("ip link set lo up")
    thread = threading.Thread(target=receive, daemon=True)
"""


@pytest.fixture(scope="module", autouse=True)
def namespace() -> None:
    """Skips where there can be no such network."""
    if sys.platform != "linux":
        pytest.skip("namespaces are Linux's")
    for name, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux")):
        program(name, package)
    tried = subprocess.run(["unshare", "-n", "nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace: {tried.stderr.strip()}")


def run(engine: ModuleType, code: str) -> list[str]:
    """What the code prints, in a namespace of its own, on this engine."""
    env = {
        **os.environ,
        "PYTHONPATH": str(PACKAGE),
        "FASTFRAME_PURE": "1" if engine.__name__.endswith("_pure") else "0",
    }
    code = textwrap.dedent(PREPARED) + textwrap.dedent(code)
    command = ["unshare", "-n", sys.executable, "-c", code]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


SENT = """
    with opened() as conn:
        for at in range(0, len(frames), 10):
            conn.send_many(frames[at : at + 5])
            for frame in frames[at + 5 : at + 10]:
                conn.send(frame)
        conn.close(timeout=60)
    thread.join(60)
    print(got == frames, ends)
"""


@pytest.mark.parametrize(
    "bad",
    [
        'filtered("numgen random mod 100 < 5 drop")',
        'system("ip link set lo mtu 68")',
        'system("tc qdisc add dev lo root tbf rate 30mbit burst 5kb latency 50ms"); system("ip link set lo mtu 1500")',
        "listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)",
    ],
    ids=["loss", "tiny-packets", "bandwidth", "tiny-window"],
)
def test_everything_arrives(engine: ModuleType, bad: str) -> None:
    assert run(engine, f"    {bad}\n{SENT}") == ["True", "[None]"]


def test_a_reset_after_some_packets_comes_after_whole_frames(engine: ModuleType) -> None:
    code = """
        filtered("ct packets > 20 reject with tcp reset")
        conn = opened()
        try:
            for frame in frames * 10:
                conn.send(frame)
        except ff.ConnectionLost as error:
            print(error.errno is not None)
        conn.close()
        system("nft flush ruleset")
        # The rule answered the sender alone: tell the receiver too.
        listener.close()
        system("ss -K dport != 0 sport = 9000 || true")
        thread.join(1)
        print(got == (frames * 10)[: len(got)], 0 < len(got))
    """
    assert run(engine, code) == ["True", "True", "True"]


def test_a_peer_that_has_gone_holds_nothing_up(engine: ModuleType) -> None:
    code = """
        conn = opened()
        conn.send(b"hello")
        time.sleep(0.2)
        filtered("drop")
        system("nft 'add rule inet t c tcp sport 9000 drop'")
        start = time.monotonic()
        try:
            conn.send(bytes(15_000_000), timeout=0.3)
        except ff.SendInterrupted:
            print("interrupted")
        try:
            conn.recv(timeout=0.2)
        except ff.FrameTimeout:
            print("timeout")
        print(0 < conn.pending < 15_000_004)
        conn.close(timeout=0.3)
        print(0.7 < time.monotonic() - start < 10, got == [b"hello"])
    """
    assert run(engine, code) == ["interrupted", "timeout", "True", "True", "True"]
