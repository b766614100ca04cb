"""Programs that know nothing of fastframe, spoken to through presets: a language server, ssh-agent, git.

Each test is an example of how the protocol is spoken. What it asserts, the program's own tools or arithmetic say.
"""

import base64
import hashlib
import json
import os
import random
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fastframe as ff
from connections import LONG, on_engine
from peers import child, folder, free_port, listens, look_for, program, run, server

__all__ = ["on_engine"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these programs are started on POSIX systems only")


# --- A language server, by the Language Server Protocol over its standard input and output ---------------------------

FAULTY = """import os
print("𝕏", undefined)
"""
MENDED = """defined = 1
print("𝕏", defined)
"""
SETTINGS = {"settings": {"configurationPreference": "editorOnly", "lint": {"select": ["F"]}}}


class Editor:
    """As much of an editor as these tests need: it asks, tells, and keeps what it is told."""

    def __init__(self, conn: ff.Connection) -> None:
        self.conn = conn
        self.asked = 0
        self.told: list[dict[str, Any]] = []

    def tell(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        """What the server answers; what it says before is kept in `told`."""
        self.asked += 1
        self.send({"id": self.asked, "method": method, "params": params})
        while (message := json.loads(self.conn.recv())).get("id") != self.asked:
            self.told.append(message)
        return message["result"]

    def send(self, message: dict[str, Any]) -> None:
        # What has no parameters may not have empty ones either.
        if not message["params"]:
            del message["params"]
        self.conn.send(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def diagnostics(self) -> dict[str, Any]:
        """What the server publishes next."""
        while True:
            message = self.told.pop(0) if self.told else json.loads(self.conn.recv())
            if message.get("method") == "textDocument/publishDiagnostics":
                return message["params"]


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    """An editor that has been introduced to `ruff server`, and says goodbye in the end."""
    ruff = look_for("ruff") or pytest.skip("no ruff here: pip install ruff")
    with child(ruff, "server", cwd=tmp_path) as process:
        with ff.wrap(process.stdout, ff.preset("lsp"), writer=process.stdin, timeout=LONG) as conn:
            editor = Editor(conn)
            answer = editor.ask(
                "initialize", processId=None, rootUri=None, capabilities={}, initializationOptions=SETTINGS
            )
            assert answer["serverInfo"]["name"] == "ruff"
            editor.tell("initialized")
            yield editor
            assert editor.ask("shutdown") is None
            editor.tell("exit")
            assert list(conn) == []  # the end of its output is a clean one
        assert process.wait(LONG) == 0


def test_language_server_finds_the_faults_of_a_document_and_sees_them_mended(editor: Editor) -> None:
    uri = "file:///nowhere/faulty.py"
    document = {"uri": uri, "languageId": "python", "version": 1, "text": FAULTY}
    editor.tell("textDocument/didOpen", textDocument=document)
    found = editor.diagnostics()
    assert found["uri"] == uri
    assert sorted((fault["code"], fault["range"]["start"]) for fault in found["diagnostics"]) == [
        ("F401", {"line": 0, "character": 7}),  # the module that isn't used
        ("F821", {"line": 1, "character": 12}),  # the name that isn't defined; 𝕏 counts twice, in UTF-16
    ]
    editor.tell("textDocument/didChange", textDocument={"uri": uri, "version": 2}, contentChanges=[{"text": MENDED}])
    found = editor.diagnostics()
    assert (found["version"], found["diagnostics"]) == (2, [])


def test_language_server_sends_a_message_of_megabytes(editor: Editor) -> None:
    names = [f"missing_{number}" for number in range(4000)]
    document = {"uri": "file:///nowhere/long.py", "languageId": "python", "version": 1, "text": "\n".join(names)}
    editor.tell("textDocument/didOpen", textDocument=document)
    faults = editor.diagnostics()["diagnostics"]
    assert sorted(fault["range"]["start"]["line"] for fault in faults) == list(range(4000))
    received = editor.conn.stats.received
    assert received.bytes > 1 << 20
    assert received.errors == 0


# --- ssh-agent, over its unix socket ---------------------------------------------------------------------------------

FAILURE, SUCCESS = b"\5", b"\6"
REQUEST_IDENTITIES, IDENTITIES_ANSWER = b"\13", 12
SIGN_REQUEST, SIGN_RESPONSE = b"\15", 14
ADD_IDENTITY = b"\21"
REMOVE_ALL_IDENTITIES = b"\23"


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def strings(data: bytes) -> list[bytes]:
    """SSH's strings, one behind the other: the very thing that a framing describes."""
    return ff.LengthField(4).decode(data)


@pytest.fixture
def agent() -> Iterator[Path]:
    """The path of the socket of an agent that holds nothing yet."""
    name = program("ssh-agent", "openssh-client")
    with folder() as place:
        path = place / "agent"
        with server(name, "-D", "-a", str(path), ready=lambda: listens(str(path))):
            yield path


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A new key pair: `public`, and what the agent wants to be told of it."""
    path = tmp_path_factory.mktemp("key") / "key"
    run(program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", str(path))
    # openssh-key-v1: cipher, key derivation and its options; one key: the public part; the private part, padded
    lines = path.read_text().splitlines()[1:-1]
    rest = base64.b64decode("".join(lines)).removeprefix(b"openssh-key-v1\0")
    assert rest[:24] == string(b"none") + string(b"none") + string(b"") + struct.pack(">I", 1)
    public, private = strings(rest[24:])
    told = private[8:].rstrip(bytes(range(1, 8)))
    assert strings(told)[3] == b"a comment"
    return SimpleNamespace(public=public, told=told, line=path.with_suffix(".pub").read_text())


def identities(conn: ff.Connection) -> list[bytes]:
    """Public keys and comments, in turn, of all that the agent holds."""
    conn.send(REQUEST_IDENTITIES)
    answer = conn.recv()
    assert answer[0] == IDENTITIES_ANSWER
    held = strings(answer[5:])
    assert len(held) == 2 * int.from_bytes(answer[1:5], "big")
    return held


def test_agent_takes_a_key_signs_with_it_and_forgets_it(agent: Path, key: SimpleNamespace, tmp_path: Path) -> None:
    with ff.connect(agent, ff.preset("ssh_agent"), timeout=LONG) as conn:
        assert identities(conn) == []
        conn.send(ADD_IDENTITY + key.told)
        assert conn.recv() == SUCCESS
        assert identities(conn) == [key.public, b"a comment"]
        assert run(program("ssh-add", "openssh-client"), "-L", env={"SSH_AUTH_SOCK": str(agent)}).decode() == key.line

        # What `ssh-keygen -Y sign` signs and writes: SSHSIG, a namespace, nothing, the hash's name, the hash
        message = b"to be signed"
        signed = b"SSHSIG" + b"".join(map(string, (b"file", b"", b"sha512", hashlib.sha512(message).digest())))
        conn.send(SIGN_REQUEST + string(key.public) + string(signed) + bytes(4))
        answer = conn.recv()
        assert answer[0] == SIGN_RESPONSE
        [signature] = strings(answer[1:])
        parts = (key.public, b"file", b"", b"sha512", signature)
        written = base64.encodebytes(b"SSHSIG\0\0\0\1" + b"".join(map(string, parts)))
        (tmp_path / "signature").write_bytes(
            b"-----BEGIN SSH SIGNATURE-----\n" + written + b"-----END SSH SIGNATURE-----\n"
        )
        (tmp_path / "signers").write_text("me " + key.line)
        verify = [program("ssh-keygen", "openssh-client"), "-Y", "verify", "-n", "file", "-I", "me"]
        verify += ["-f", str(tmp_path / "signers"), "-s", str(tmp_path / "signature")]
        assert b"Good" in run(*verify, input=message)
        with pytest.raises(subprocess.CalledProcessError):
            run(*verify, input=message + b"!")

        conn.send(REMOVE_ALL_IDENTITIES)
        assert conn.recv() == SUCCESS
        assert identities(conn) == []


def test_agent_answers_many_requests_that_are_sent_at_once(agent: Path) -> None:
    with ff.connect(agent, ff.preset("ssh_agent"), timeout=LONG) as conn:
        conn.send_many([REQUEST_IDENTITIES, b"\xff"] * 100)
        # No shutdown_send before the answers are there: for the agent a half-closed connection is one to be closed.
        assert [conn.recv() for _ in range(200)] == [bytes([IDENTITIES_ANSWER, 0, 0, 0, 0]), FAILURE] * 100


def test_agent_takes_what_the_presets_limit_allows_and_hangs_up_beyond(agent: Path) -> None:
    framing = ff.preset("ssh_agent")
    with ff.connect(agent, framing, timeout=LONG) as conn:
        conn.send(b"\xff" * framing.limit)
        assert conn.recv() == FAILURE
        with pytest.raises(ff.FrameTooLarge):
            conn.send(b"\xff" * (framing.limit + 1))
        conn.send_framing = framing.replace(max_size=framing.limit + 1)
        with pytest.raises((ff.ConnectionClosed, ff.ConnectionLost)):
            conn.send(b"\xff" * (framing.limit + 1))
            conn.recv()


# --- git upload-pack and git daemon, by pkt-lines --------------------------------------------------------------------

FLUSH, DELIM = b"0000", b"0001"
"""The special packets: four digits that are no size. They come out of the preset, and go into it, as they are."""


def packet(line: bytes) -> bytes:
    """A data packet. The preset wants it whole, size and all, as it delivers it."""
    return b"%04x%b" % (len(line) + 4, line)


def until(conn: ff.Connection, end: bytes) -> list[bytes]:
    """The lines up to the special packet `end`."""
    return [line[4:].removesuffix(b"\n") for line in iter(conn.recv, end)]


def channels(packets: Iterable[bytes]) -> dict[int, bytes]:
    """What comes on the side-band, by channel: 1 is the pack, 2 progress, 3 an error."""
    parts: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    for packet in packets:
        parts[packet[4]].append(packet[5:])
    return {number: b"".join(pieces) for number, pieces in parts.items()}


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A repository with one commit on the branch main: a megabyte that can't be compressed, a hundred small files."""
    path = tmp_path_factory.mktemp("git") / "repository"
    path.mkdir()
    name = program("git", "git")

    def git(*words: str, **how: Any) -> bytes:
        return run(name, "-C", str(path), "-c", "user.name=A", "-c", "user.email=a@b", *words, **how)

    git("init", "-q", "-b", "main")
    (path / "large").write_bytes(random.Random(0).randbytes(1 << 20))
    for number in range(100):
        (path / f"small-{number}").write_text(f"{number}\n")
    git("add", ".")
    git("commit", "-q", "-m", "all of it")
    head = git("rev-parse", "HEAD").strip()
    objects = sorted(line[:40] for line in git("rev-list", "--objects", "--all").splitlines())
    assert len(objects) == 103
    return SimpleNamespace(path=path, git=name, head=head, objects=objects)


@contextmanager
def upload_pack(repository: SimpleNamespace, version: int) -> Iterator[ff.Connection]:
    """A connection with git's server program, which speaks this version of the protocol over its pipes."""
    said = {"GIT_PROTOCOL": f"version={version}"}
    with child(repository.git, "upload-pack", str(repository.path), env=said) as process:
        with ff.wrap(process.stdout, ff.preset("git_pktline"), writer=process.stdin, timeout=LONG) as conn:
            yield conn
        assert process.wait(LONG) == 0


@pytest.fixture(scope="session")
def daemon(repository: SimpleNamespace) -> Iterator[tuple[str, int]]:
    """The address of a git daemon."""
    address = ("127.0.0.1", free_port())
    how = ["--listen=127.0.0.1", f"--port={address[1]}", "--export-all", f"--base-path={repository.path.parent}"]
    with server(repository.git, "daemon", *how, ready=lambda: listens(address)):
        yield address


def check_pack(pack: bytes, repository: SimpleNamespace, place: Path) -> None:
    """Its trailer is its hash, and git finds in it all objects of the repository."""
    assert pack[:4] == b"PACK"
    assert hashlib.sha1(pack[:-20]).digest() == pack[-20:]
    run(repository.git, "init", "-q", "--bare", str(place))
    run(repository.git, "-C", str(place), "index-pack", "--stdin", "--strict", input=pack)
    listed = run(repository.git, "-C", str(place), "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    assert sorted(listed.splitlines()) == repository.objects


@pytest.mark.parametrize("version", [0, 1])
def test_git_advertises_its_refs_and_sends_a_pack_on_the_side_band(
    repository: SimpleNamespace, tmp_path: Path, version: int
) -> None:
    with upload_pack(repository, version) as conn:
        first, *refs = until(conn, FLUSH)
        if version == 1:
            assert first == b"version 1"
            first, *refs = refs
        head, _, capabilities = first.partition(b"\0")
        assert head == repository.head + b" HEAD"
        assert b"side-band-64k" in capabilities.split()
        assert refs == [repository.head + b" refs/heads/main"]

        want = packet(b"want " + repository.head + b" side-band-64k ofs-delta\n")
        conn.send_many([want, FLUSH, packet(b"done\n")])
        assert conn.recv() == packet(b"NAK\n")
        found = channels(iter(conn.recv, FLUSH))
        assert list(conn) == []
    assert b"103" in found[2]
    check_pack(found[1], repository, tmp_path)


def test_git_sends_a_bare_pack_to_the_end_of_the_stream(repository: SimpleNamespace, tmp_path: Path) -> None:
    with upload_pack(repository, 0) as conn:
        until(conn, FLUSH)
        conn.send_many([packet(b"want " + repository.head + b"\n"), FLUSH, packet(b"done\n")])
        assert conn.recv() == packet(b"NAK\n")
        conn.framing = ff.UntilEOF()  # the rest is no packet any more: what is received of it already is looked at anew
        pack = conn.recv()
    check_pack(pack, repository, tmp_path)


@pytest.fixture(params=["pipes", "tcp"])
def version_2(request: pytest.FixtureRequest, repository: SimpleNamespace) -> Iterator[ff.Connection]:
    """A connection with git in which the second version of the protocol begins."""
    if request.param == "pipes":
        with upload_pack(repository, 2) as conn:
            yield conn
    else:
        with ff.connect(request.getfixturevalue("daemon"), ff.preset("git_pktline"), timeout=LONG) as conn:
            conn.send(packet(b"git-upload-pack /repository\0host=localhost\0\0version=2\0"))
            yield conn


def test_git_in_version_2_lists_refs_and_sends_a_pack(
    version_2: ff.Connection, repository: SimpleNamespace, tmp_path: Path
) -> None:
    conn = version_2
    version, *capabilities = until(conn, FLUSH)
    assert version == b"version 2"
    assert {line.partition(b"=")[0] for line in capabilities} >= {b"ls-refs", b"fetch", b"object-format"}

    command = [packet(b"command=ls-refs\n"), packet(b"object-format=sha1\n"), DELIM]
    conn.send_many([*command, packet(b"symrefs\n"), packet(b"ref-prefix HEAD\n"), FLUSH])
    assert until(conn, FLUSH) == [repository.head + b" HEAD symref-target:refs/heads/main"]

    # Behind a `have` that it knows and without `done`, git answers with two sections.
    want = [packet(b"want " + repository.head + b"\n"), packet(b"have " + repository.head + b"\n")]
    conn.send_many([packet(b"command=fetch\n"), DELIM, *want, FLUSH])
    assert until(conn, DELIM) == [b"acknowledgments", b"ACK " + repository.head, b"ready"]
    assert conn.recv() == packet(b"packfile\n")
    assert channels(iter(conn.recv, FLUSH))[1][8:12] == bytes(4)  # a pack of nothing: all of it is there already

    conn.send_many([packet(b"command=fetch\n"), DELIM, want[0], packet(b"done\n"), FLUSH])
    assert conn.recv() == packet(b"packfile\n")
    check_pack(channels(iter(conn.recv, FLUSH))[1], repository, tmp_path)

    conn.send(FLUSH)  # in version 2 a flush where a command is due ends the conversation
    assert list(conn) == []


def test_git_daemon_says_why_it_refuses(daemon: tuple[str, int]) -> None:
    with ff.connect(daemon, ff.preset("git_pktline"), timeout=LONG) as conn:
        conn.send(packet(b"git-upload-pack /nowhere\0host=localhost\0"))
        [refusal] = list(conn)
        assert refusal[4:].startswith(b"ERR ")
