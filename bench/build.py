"""Builds the contenders that aren't Python, and the C programs at their other ends."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["Missing", "build"]

PEERS = Path(__file__).parent / "peers"
DEBIAN_CRATES = Path("/usr/share/cargo/registry")
DEBIAN_JARS = Path("/usr/share/java")


class Missing(Exception):
    """A toolchain or library isn't there; the text names it."""


def build(language: str, folder: Path) -> list[str]:
    """Build the program of a language into `folder`, unless it is there already; returns the command that starts it.

    language: "c-reference", "load", "crowd", "tokio", "go", "erlang" or "netty". Raises Missing.
    """
    return BUILDERS[language](folder.resolve())


def _build_c(source: str, folder: Path) -> list[str]:
    program = folder / source.removesuffix(".c")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    _tool(compiler[0], "a C compiler")
    command = [*compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), source]
    _make(folder, [PEERS / source, *PEERS.glob("*.h")], [command])
    return [str(program)]


def _build_tokio(folder: Path) -> list[str]:
    cargo = _tool("cargo", "Rust's cargo")
    options = ["--target-dir", "target"]
    if any(DEBIAN_CRATES.glob("tokio-util-*")):
        source = {"crates-io.replace-with": "debian", "debian.directory": str(DEBIAN_CRATES)}
        options += [part for key, value in source.items() for part in ("--config", f'source.{key}="{value}"')]
    fetch, compile_ = [cargo, "fetch", *options[2:]], [cargo, "build", "--release", "--offline", *options]
    sources = [PEERS / "tokio" / "Cargo.toml", PEERS / "tokio" / "src" / "main.rs"]
    _make(folder, sources, [fetch, compile_], optional="tokio-util, in cargo's registry or Debian's")
    return [str(folder / "target" / "release" / "peer")]


def _build_go(folder: Path) -> list[str]:
    command = [_tool("go", "Go"), "build", "-buildvcs=false", "-o", "peer", "."]
    _make(folder, [PEERS / "go" / "go.mod", PEERS / "go" / "main.go"], [command])
    return [str(folder / "peer")]


def _build_erlang(folder: Path) -> list[str]:
    erl = _tool("erl", "Erlang")
    _make(folder, [PEERS / "erlang" / "contender.erl"], [[_tool("erlc", "Erlang's erlc"), "contender.erl"]])
    # Its schedulers don't spin while they wait: on a processor of its own that would only be counted against it.
    still = [part for option in ("+sbwt", "+sbwtdcpu", "+sbwtdio") for part in (option, "none")]
    return [erl, "-noinput", *still, "-pa", str(folder), "-s", "contender", "main", "-extra"]


def _build_netty(folder: Path) -> list[str]:
    java, javac = _tool("java", "Java"), _tool("javac", "Java's javac")
    place = Path(os.environ.get("NETTY_JARS", DEBIAN_JARS))
    # JCTools stands inside Netty's own jars, but beside Debian's. Debian's have two names each.
    jars = sorted({jar.resolve() for pattern in ("netty-*.jar", "jctools-core*.jar") for jar in place.glob(pattern)})
    if not any(jar.name.startswith("netty-transport") for jar in jars):
        raise Missing(f"Netty's jars in {place} (NETTY_JARS names another folder)")
    path = os.pathsep.join([str(folder), *map(str, jars)])
    sources = sorted((PEERS / "netty").glob("*.java"))
    _make(folder, sources, [[javac, "-cp", path, "-d", ".", *(source.name for source in sources)]])
    return [java, "-cp", path, "Peer"]


BUILDERS: dict[str, Callable[[Path], list[str]]] = {
    "c-reference": lambda folder: _build_c("reference.c", folder),
    "load": lambda folder: _build_c("load.c", folder),
    "crowd": lambda folder: _build_c("crowd.c", folder),
    "tokio": _build_tokio,
    "go": _build_go,
    "erlang": _build_erlang,
    "netty": _build_netty,
}


def _tool(name: str, told: str) -> str:
    """Where a command is; Missing if nowhere."""
    path = shutil.which(name)
    if path is None:
        raise Missing(told)
    return path


def _make(folder: Path, sources: list[Path], commands: list[list[str]], *, optional: str = "") -> None:
    """Run `commands` on copies of the sources, unless the folder has what they would make.

    optional: what is missing if all but the last command fail, rather than that the build is broken.
    """
    digest = hashlib.sha256(repr(commands).encode())
    for source in sources:
        digest.update(source.read_bytes())
    stamp = folder / "built-from"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    stamp.unlink(missing_ok=True)
    for source in sources:
        # Builders leave files beside the sources (Cargo.lock), so they get copies.
        copy = folder / ("src" if source.suffix == ".rs" else "") / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode and optional and command is not commands[-1]:
            raise Missing(optional)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr}")
    stamp.write_text(digest.hexdigest())
