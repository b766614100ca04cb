"""Database servers, spoken to through presets: PostgreSQL over TCP, TLS and a unix socket; memcached over TCP.

Each test is an example of how the protocol is spoken. What it asserts, the server's own client or arithmetic says.
"""

import os
import ssl
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import fastframe as ff
from connections import LONG, SOON, on_engine
from peers import account, certificate, folder, free_port, listens, program, run, server, succeeds

__all__ = ["on_engine"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these servers are started on POSIX systems only")


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

CANCEL_REQUEST, SSL_REQUEST = struct.pack(">I", 80877102), struct.pack(">I", 80877103)

POSTGRES, STARTUP = ff.preset("postgres"), ff.preset("postgres_startup")


@pytest.fixture(scope="session")
def postgres() -> Iterator[SimpleNamespace]:
    """A running server: its addresses `tcp` and `unix`, its `certificate`, and its own client as `psql(query)`."""
    initdb, serve, is_ready, psql = (
        program(name, "postgresql") for name in ("initdb", "postgres", "pg_isready", "psql")
    )
    user = account("postgres")
    with folder(user.get("user")) as place:
        data, port = str(place / "data"), str(free_port())
        how = {"cwd": place, **user}
        run(initdb, "-D", data, "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-locale", "-N", **how)
        own, key = certificate(place, **how)
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": place,
            "ssl": "on",
            "ssl_cert_file": own,
            "ssl_key_file": key,
            "fsync": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        where = ["-h", str(place), "-p", port]

        def ask(query: str) -> str:
            return run(psql, *where, "-U", "tester", "-d", "postgres", "-XAtqc", query).decode()

        with server(serve, "-D", data, "-p", port, *options, ready=lambda: succeeds(is_ready, "-q", *where), **how):
            unix = place / f".s.PGSQL.{port}"
            yield SimpleNamespace(tcp=("127.0.0.1", int(port)), unix=unix, certificate=own, psql=ask)


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A whole frame, which is what the preset wants: it writes the length into the four bytes behind the kind."""
    return kind + bytes(4) + body


def start(conn: ff.Connection) -> dict[bytes, list[bytes]]:
    """Introduce the user. The first message is framed in another way than all others: it has no kind."""
    conn.send_framing = STARTUP
    conn.send(struct.pack(">I", 3 << 16) + b"user\0tester\0database\0postgres\0\0")
    conn.send_framing = conn.framing = POSTGRES
    answer = until_ready(conn)
    assert answer[b"R"] == [bytes(4)]  # trusted
    return answer


def until_ready(conn: ff.Connection) -> dict[bytes, list[bytes]]:
    """The bodies of all messages up to ReadyForQuery, by kind."""
    found: dict[bytes, list[bytes]] = {}
    while b"Z" not in found:
        for frame in conn.recv_many():
            found.setdefault(frame[:1], []).append(frame[5:])
    return found


def query(conn: ff.Connection, text: str) -> dict[bytes, list[bytes]]:
    conn.send(message(b"Q", text.encode() + b"\0"))
    return until_ready(conn)


def row(body: bytes) -> list[bytes | None]:
    """The columns of a DataRow."""
    [count], at = struct.unpack_from(">H", body), 2
    columns: list[bytes | None] = []
    for _ in range(count):
        [size] = struct.unpack_from(">i", body, at)
        at += 4
        columns.append(None if size < 0 else body[at : at + size])
        at += max(size, 0)
    assert at == len(body)
    return columns


def fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse, by their letters: C is the code, M the message."""
    return {field[0]: field[1:] for field in body.decode().split("\0") if field}


def over_tls(postgres: SimpleNamespace) -> ff.Connection:
    """Ask for TLS, which is answered by a byte without a frame, and go on inside of it."""
    # Without readahead nothing behind the byte is taken: what a man in the middle puts there isn't read as if by TLS.
    with ff.connect(postgres.tcp, ff.FixedSize(1), send_framing=STARTUP, readahead=False, timeout=LONG) as plain:
        plain.send(SSL_REQUEST)
        assert plain.recv() == b"S"
        sock = plain.detach()
    sock.settimeout(LONG)
    tls = ssl.create_default_context(cafile=postgres.certificate).wrap_socket(sock, server_hostname="localhost")
    return ff.wrap(tls, POSTGRES)


@pytest.fixture(params=["tcp", "unix", "tls"])
def session(request: pytest.FixtureRequest, postgres: SimpleNamespace) -> Iterator[ff.Connection]:
    """A connection with PostgreSQL that is ready for a query."""
    if request.param == "tls":
        conn = over_tls(postgres)
    else:
        conn = ff.connect(getattr(postgres, request.param), POSTGRES, timeout=LONG)
    with conn:
        start(conn)
        yield conn
        conn.send(message(b"X"))
        assert list(conn) == []


def test_postgres_answers_a_query_as_its_own_client_says(session: ff.Connection, postgres: SimpleNamespace) -> None:
    text = "SELECT g, g * g, NULLIF(g % 2, 0), repeat('ä', g % 7) FROM generate_series(1, 1000) AS g"
    answer = query(session, text)
    rows = [row(body) for body in answer[b"D"]]
    assert [int(columns[1] or 0) for columns in rows] == [g * g for g in range(1, 1001)]
    assert rows[1][2] is None
    assert answer[b"C"] == [b"SELECT 1000\0"]
    assert "".join("|".join((c or b"").decode() for c in columns) + "\n" for columns in rows) == postgres.psql(text)


def test_postgres_answers_an_error_and_goes_on(session: ff.Connection) -> None:
    [error] = query(session, "SELECT 1 / 0")[b"E"]
    assert fields(error)["C"] == "22012"  # division by zero
    assert query(session, "SELECT 6 * 7")[b"D"] == [b"\0\1\0\0\0\00242"]


def test_postgres_sends_a_message_of_32_mebibytes(session: ff.Connection) -> None:
    size = 32 << 20
    assert query(session, f"SELECT repeat('x', {size})")[b"D"] == [b"\0\1" + size.to_bytes(4, "big") + b"x" * size]


def test_postgres_copies_100000_rows_out_and_in(session: ff.Connection) -> None:
    copied = query(session, "COPY (SELECT g, g * g FROM generate_series(1, 100000::bigint) AS g) TO STDOUT")
    assert copied[b"d"] == [b"%d\t%d\n" % (g, g * g) for g in range(1, 100_001)]
    assert copied[b"C"] == [b"COPY 100000\0"]

    query(session, "CREATE TEMPORARY TABLE squares (number bigint, square bigint)")
    session.send(message(b"Q", b"COPY squares FROM STDIN\0"))
    assert session.recv()[:1] == b"G"
    session.send_many(message(b"d", line) for line in copied[b"d"])
    session.send(message(b"c"))
    assert until_ready(session)[b"C"] == [b"COPY 100000\0"]
    [total] = query(session, "SELECT count(*), sum(number), sum(square) FROM squares")[b"D"]
    n = 100_000
    assert row(total) == [b"%d" % n, b"%d" % (n * (n + 1) // 2), b"%d" % (n * (n + 1) * (2 * n + 1) // 6)]


def test_postgres_copy_is_read_in_batches(session: ff.Connection) -> None:
    session.send(message(b"Q", b"COPY (SELECT g FROM generate_series(1, 100000) AS g) TO STDOUT\0"))
    total = count = 0
    done = False
    while not done:
        for frame in session.recv_batch():
            if frame[:1] == b"d":
                total, count = total + int(frame[5:]), count + 1
            done = frame[:1] == b"Z"
    assert (count, total) == (100_000, 100_000 * 100_001 // 2)


def test_postgres_takes_statements_that_are_sent_ahead(session: ff.Connection) -> None:
    parse = message(b"P", b"\0SELECT $1::int + 1\0" + struct.pack(">HI", 1, 23))
    batch = []
    for number in range(100):
        value = b"%d" % number
        bind = message(b"B", b"\0\0" + struct.pack(">HHI", 0, 1, len(value)) + value + bytes(2))
        batch += [parse, bind, message(b"E", b"\0" + bytes(4))]
    session.send_many([*batch, message(b"S")])
    assert [row(body) for body in until_ready(session)[b"D"]] == [[b"%d" % (number + 1)] for number in range(100)]


def test_postgres_takes_its_time_and_nothing_is_lost(session: ff.Connection) -> None:
    session.send(message(b"Q", b"SELECT pg_sleep(0.3), 42\0"))
    with pytest.raises(ff.FrameTimeout):
        session.recv(timeout=0.01)
    assert [row(body) for body in until_ready(session)[b"D"]] == [[b"", b"42"]]


def test_postgres_notifies_another_session(session: ff.Connection, postgres: SimpleNamespace) -> None:
    query(session, "LISTEN news")
    assert not session.poll(timeout=SOON)
    postgres.psql("NOTIFY news, 'hello'")
    notification = session.recv()
    assert notification[:1] == b"A"
    assert notification[9:] == b"news\0hello\0"


def test_postgres_cancels_a_query_by_another_connection(postgres: SimpleNamespace) -> None:
    with ff.connect(postgres.unix, POSTGRES, timeout=LONG) as conn:
        [process_and_secret] = start(conn)[b"K"]
        conn.send(message(b"Q", b"DO 'BEGIN RAISE NOTICE ''begun''; PERFORM pg_sleep(1000); END'\0"))
        notice = conn.recv()
        assert (notice[:1], fields(notice[5:])["M"]) == (b"N", "begun")
        with ff.connect(postgres.unix, STARTUP, timeout=LONG) as other:
            other.send(CANCEL_REQUEST + process_and_secret)
            assert list(other) == []
        [error] = until_ready(conn)[b"E"]
        assert fields(error)["C"] == "57014"  # cancelled


def test_postgres_refuses_tls_by_a_byte_without_a_frame(postgres: SimpleNamespace) -> None:
    with ff.connect(postgres.unix, ff.FixedSize(1), send_framing=STARTUP, timeout=LONG) as conn:
        conn.send(SSL_REQUEST)
        assert conn.recv() == b"N"  # never over a unix socket
        start(conn)
        assert query(conn, "SELECT 6 * 7")[b"D"] == [b"\0\1\0\0\0\00242"]


def test_postgres_knows_how_it_is_spoken_to(session: ff.Connection, request: pytest.FixtureRequest) -> None:
    [said] = query(session, "SELECT ssl, inet_client_port() FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[b"D"]
    kind = request.node.callspec.params["session"]
    port = None if kind == "unix" else b"%d" % session.local_address[1]
    assert row(said) == [b"t" if kind == "tls" else b"f", port]


def test_postgres_takes_the_largest_startup_message_that_the_preset_allows(postgres: SimpleNamespace) -> None:
    def startup(size: int) -> bytes:
        known = struct.pack(">I", 3 << 16) + b"user\0tester\0database\0postgres\0application_name\0"
        return known + b"x" * (size - len(known) - 2) + b"\0\0"

    with ff.connect(postgres.unix, POSTGRES, send_framing=STARTUP, timeout=LONG) as conn:
        conn.send(startup(STARTUP.limit))
        assert b"Z" in until_ready(conn)
    with ff.connect(postgres.unix, POSTGRES, send_framing=STARTUP.replace(max_size=20_000), timeout=LONG) as conn:
        conn.send(startup(STARTUP.limit + 1))
        with pytest.raises((ff.ConnectionClosed, ff.ConnectionLost)):
            until_ready(conn)


# --- memcached, by its binary protocol -------------------------------------------------------------------------------

GET, SET, INCREMENT, NOOP, GET_KEY_QUIET, STAT = 0x00, 0x01, 0x05, 0x0A, 0x0D, 0x10
OK, NOT_FOUND, TOO_LARGE = 0, 1, 3

BINARY = ff.preset("memcached_binary")


@pytest.fixture(scope="session")
def memcached() -> Iterator[SimpleNamespace]:
    """A running server: the addresses `plain` and `tls`, and its `certificate`."""
    name = program("memcached", "memcached")
    user = account("nobody")
    plain, tls = (("127.0.0.1", free_port()) for _ in range(2))
    with folder(user.get("user")) as place:
        own, key = certificate(place, **user)
        options = ["-U", "0", "-Z", "-o", f"ssl_chain_cert={own},ssl_key={key}"]
        options += ["-l", f"notls:127.0.0.1:{plain[1]}", "-l", f"127.0.0.1:{tls[1]}"]
        if user:
            options += ["-u", "nobody"]
        with server(name, *options, ready=lambda: listens(plain) and listens(tls), **user):
            yield SimpleNamespace(plain=plain, tls=tls, certificate=own)


@pytest.fixture(params=["plain", "tls"])
def cache(request: pytest.FixtureRequest, memcached: SimpleNamespace) -> Iterator[ff.Connection]:
    """A connection with memcached, by its binary protocol."""
    if request.param == "plain":
        conn = ff.connect(memcached.plain, BINARY, timeout=LONG)
    else:
        context = ssl.create_default_context(cafile=memcached.certificate)
        conn = ff.connect(memcached.tls, BINARY, ssl=context, server_hostname="localhost", timeout=LONG)
    with conn:
        yield conn


def request(code: int, key: bytes = b"", value: bytes = b"", extras: bytes = b"", opaque: int = 0) -> bytes:
    """A whole frame, which is what the preset wants: it writes the length of what follows the header."""
    return struct.pack(">BBHBBHIIQ", 0x80, code, len(key), len(extras), 0, 0, 0, opaque, 0) + extras + key + value


def empty(code: int) -> bytes:
    """The response that has nothing but its header."""
    return b"\x81" + request(code)[1:]


def response(frame: bytes) -> SimpleNamespace:
    magic, code, key, extras, _, status, size, opaque, _ = struct.unpack_from(">BBHBBHIIQ", frame)
    assert (magic, size) == (0x81, len(frame) - 24)
    start = 24 + extras
    return SimpleNamespace(
        code=code, status=status, opaque=opaque, key=frame[start : start + key], value=frame[start + key :]
    )


def test_memcached_keeps_values_and_answers_what_is_sent_ahead(cache: ff.Connection) -> None:
    values = {b"key-%d" % number: bytes([number]) * number**2 for number in range(1, 200)}
    cache.send_many(request(SET, key, value, bytes(8)) for key, value in values.items())
    assert [response(cache.recv()).status for _ in values] == [OK] * len(values)
    # The quiet ones say nothing of a key that isn't there; the last one is answered whatever came before.
    quiet = [request(GET_KEY_QUIET, key, opaque=7) for key in (*values, b"another")]
    cache.send_many([*quiet, request(NOOP)])
    found = [response(frame) for frame in iter(cache.recv, empty(NOOP))]
    assert {answer.key: answer.value for answer in found} == values
    assert {answer.opaque for answer in found} == {7}


def test_memcached_counts_and_says_what_is_missing(cache: ff.Connection) -> None:
    cache.send(request(GET, b"missing"))
    assert response(cache.recv()).status == NOT_FOUND
    cache.send(request(SET, b"counter", b"41", bytes(8)))
    assert response(cache.recv()).status == OK
    cache.send(request(INCREMENT, b"counter", extras=struct.pack(">QQI", 1, 0, 0)))
    assert response(cache.recv()).value == struct.pack(">Q", 42)
    cache.send(request(STAT))
    stats = {answer.key: answer.value for answer in map(response, iter(cache.recv, empty(STAT)))}
    assert int(stats[b"total_items"]) > 0


def test_memcached_takes_a_value_of_nearly_a_mebibyte_and_refuses_a_whole_one(cache: ff.Connection) -> None:
    large = b"x" * ((1 << 20) - 200)
    cache.send(request(SET, b"large", large, bytes(8)))
    assert response(cache.recv()).status == OK
    cache.send(request(GET, b"large"))
    assert response(cache.recv()).value == large
    cache.send(request(SET, b"large", b"x" * (1 << 20), bytes(8)))
    assert response(cache.recv()).status == TOO_LARGE


def test_memcached_is_spoken_to_in_lines_with_blocks_between(memcached: SimpleNamespace) -> None:
    lines = ff.Delimiter(b"\r\n")
    with ff.connect(memcached.plain, lines, timeout=LONG) as conn:
        block = b"END\r\nis no end in here\r\n"
        blocks = ff.FixedSize(len(block))
        conn.send(b"set block 0 0 %d" % (len(block) - 2))
        conn.send_framing = blocks
        conn.send(block)
        conn.send_framing = lines
        assert conn.recv() == b"STORED"
        conn.send_many([b"get block", b"version"])
        assert conn.recv() == b"VALUE block 0 %d" % (len(block) - 2)
        conn.framing = blocks  # what has been received already is looked at anew
        assert conn.recv() == block
        conn.framing = lines
        assert conn.recv() == b"END"
        assert conn.recv().startswith(b"VERSION ")
