"""Descriptions of real protocols, by name.

A table of constructors: a description is built when it is asked for, so that importing
this costs nothing. Each entry says where its layout is written down.

Where a header says more than the length and a constant, `strip` is 0: the whole frame is
delivered, and `encode` takes a whole frame and writes the length into it. The same goes
for checksums behind the payload. `max_size` is the protocol's own limit, in delivered
bytes: what it allows in the length field, plus what the field doesn't count. Where it has
none, or only what four or eight bytes can hold, the default applies.
"""

from __future__ import annotations

import sys

from .errors import BadLength, BadMagic
from .framing import AsciiLength, Computed, ContentLength, Delimiter, LengthField, Netstring, VarintLength

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from .framing import Framing

__all__ = ["preset", "presets"]


def preset(name: str) -> Framing:
    """The description of the protocol called `name`, one of `presets()`.

    Raises ValueError for any other name, with those that are close to it.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if name not in _PRESETS:
        import difflib

        close = difflib.get_close_matches(name.lower(), _PRESETS)
        hint = f": did you mean {' or '.join(map(repr, close))}?" if close else ": presets() names them all"
        raise ValueError(f"no preset is called {name!r}{hint}")
    return _PRESETS[name]()


def presets() -> tuple[str, ...]:
    """The names of all presets, sorted."""
    return tuple(sorted(_PRESETS))


# What each of these gets is the first `header_size` bytes of a frame; what it gives is the frame's size in bytes.


def git_pktline_size(header: bytes) -> int:
    """hhhh, the whole packet's size in hex, and data. 0000 (flush), 0001 (delimiter), 0002 (end) have none."""
    if header.translate(None, b"0123456789abcdefABCDEF"):
        raise BadLength("pkt-line length is not four hexadecimal digits")
    size = int(header, 16)
    if size == 3:
        raise BadLength("pkt-line of 3 bytes is shorter than its length")
    return max(size, 4)


def dbus_size(header: bytes) -> int:
    """l or B, the byte order; at 4 the body's size, at 12 that of the header fields, which begin at 16, padded to 8."""
    if header[:1] not in (b"l", b"B"):
        raise BadLength(f"byte order is 0x{header[0]:02x}, neither l nor B")
    byteorder: Literal["little", "big"] = "little" if header[:1] == b"l" else "big"
    body, fields = (int.from_bytes(header[at : at + 4], byteorder) for at in (4, 12))
    return 16 + (fields + 7 & ~7) + body


def pyro5_size(header: bytes) -> int:
    """PYRO; at 12 the size of the data, at 16 that of the annotations; at 38 0x4dc5, then both."""
    if header[:4] != b"PYRO" or header[38:] != b"\x4d\xc5":
        raise BadMagic(f"header has {header[:4].hex()} and {header[38:].hex()} instead of 5059524f and 4dc5")
    return 40 + int.from_bytes(header[12:16], "big") + int.from_bytes(header[16:20], "big")


def fix_size(header: bytes) -> int:
    """8=FIX...<SOH>9=n<SOH>, n bytes, 10=nnn<SOH>. Field 9 ends within the 26 bytes of the smallest message."""
    begin, _, rest = header.partition(b"\1")
    if not begin.startswith(b"8=FIX"):
        raise BadMagic(f"frame begins with {header[:5].hex()} instead of {b'8=FIX'.hex()}")
    length, end, _ = rest[2:].partition(b"\1")
    if rest[:2] != b"9=" or not end or not length.isdigit():
        raise BadLength("the second field is not 9= and a decimal number")
    return len(begin) + len(length) + 4 + int(length) + 7


def avro_block_size(header: bytes) -> int:
    """Two zigzag varints, the number of objects and their size in bytes; the objects; a sync marker of 16 bytes."""
    at, numbers = 0, []
    for _ in range(2):
        start, number = at, 0
        while at - start < 10 and at < len(header):
            number |= (header[at] & 0x7F) << 7 * (at - start)
            at += 1
            if header[at - 1] < 0x80:
                break
        else:
            raise BadLength(f"varint has no end in {at - start} bytes")
        if number & 1:
            raise BadLength(f"block has a negative number, {-(number + 1 >> 1)}")
        numbers.append(number >> 1)
    return at + numbers[1] + 16


_PRESETS: dict[str, Callable[[], Framing]] = {
    # --- Bare lengths ---
    "u8": lambda: LengthField(1),
    "u16be": lambda: LengthField(2),
    "u16le": lambda: LengthField(2, "little"),
    "u24be": lambda: LengthField(3),
    "u32be": lambda: LengthField(4),
    "u32le": lambda: LengthField(4, "little"),
    "u32ne": lambda: LengthField(4, sys.byteorder),
    "u64be": lambda: LengthField(8),
    "u64le": lambda: LengthField(8, "little"),
    # Erlang: open_port, {packet, 1 | 2 | 4}; the distribution protocol, section Protocol between Connected Nodes
    "erlang_packet1": lambda: LengthField(1),
    "erlang_packet2": lambda: LengthField(2),
    "erlang_packet4": lambda: LengthField(4),
    # --- Between Python programs ---
    # multiprocessing.connection, POSIX: "!i", -1 announces "!Q"
    "mp_connection": lambda: LengthField(4, signed=True, escape=(-1, 8)),
    # logging.handlers.SocketHandler: ">L" and a pickle
    "logging_socket": lambda: LengthField(4),
    # logging.config.listen: ">L" and a configuration
    "logging_config_listen": lambda: LengthField(4),
    # Carbon's pickle receiver, Feeding In Your Data; PICKLE_RECEIVER_MAX_LENGTH
    "carbon_pickle": lambda: LengthField(4, max_size=1 << 20),
    # Airflow 3, task supervisor: msgpack behind 4 bytes
    "airflow_task": lambda: LengthField(4),
    # Ansible's persistent connection: "!Q"
    "ansible_connection": lambda: LengthField(8),
    # execnet's Message: "!bii", type, channel, length
    "execnet": lambda: LengthField(4, signed=True, offset=5, strip=0),
    # RPyC's Channel: "!LB", length and compression flag; a newline behind it
    "rpyc": lambda: LengthField(4, header_size=5, adjustment=1, strip=0, trailer=b"\n"),
    # Mitogen's Message: ">hLLLLLL", "MI", dst, src, auth, handle, reply_to, length
    "mitogen": lambda: LengthField(4, offset=22, strip=0, magic=b"MI"),
    # PyTorch Inductor's subprocess pool, 64 bit: "nnn", the length last
    "torch_inductor": lambda: LengthField(8, sys.byteorder, signed=True, offset=16, strip=0),
    # Pyro5, wire protocol: "!4sHBBHHII16sHH"
    "pyro5": lambda: Computed(40, pyro5_size),
    # --- Remote calls and messaging ---
    # WAMP, section 14.2.2 RawSocket: type, length
    "wamp_rawsocket": lambda: LengthField(3, offset=1, strip=0, max_size=4 + 0xFFFFFF),
    # Kafka protocol guide, Common Request and Response Structure; socket.request.max.bytes
    "kafka": lambda: LengthField(4, signed=True, max_size=100 << 20),
    # Thrift, framed transport; DEFAULT_MAX_FRAME_SIZE
    "thrift_framed": lambda: LengthField(4, signed=True, max_size=16_384_000),
    # Thrift, SASL negotiation: status, length
    "thrift_sasl": lambda: LengthField(4, offset=1, strip=0, max_size=5 + (1 << 20)),
    # gRPC over HTTP/2, Length-Prefixed-Message: compressed flag, length; the default receive limit
    "grpc_message": lambda: LengthField(4, offset=1, strip=0, max_size=5 + (4 << 20)),
    # ZooKeeper, jute records; jute.maxbuffer
    "zookeeper": lambda: LengthField(4, signed=True, max_size=0xFFFFF),
    # Hadoop RPC behind its 7-byte preamble; ipc.maximum.data.length
    "hadoop_rpc": lambda: LengthField(4, signed=True, max_size=128 << 20),
    # AMQP 0-9-1, section 4.2.3: type, channel, length; the frame-end octet; frame-max
    "amqp091": lambda: LengthField(4, offset=3, adjustment=1, strip=0, trailer=b"\xce", max_size=7 + (128 << 10)),
    # SMPP 3.4, section 3.2: command_length counts the header of 16 bytes
    "smpp": lambda: LengthField(4, header_size=16, adjustment=-16, strip=0),
    # Zeek Broker, CAF's length_prefix_framing
    "zeek_broker": lambda: LengthField(4),
    # RFC 5531, section 11: single fragments, the top bit marks the last of a record
    "onc_rpc": lambda: LengthField(4, strip=0, mask=0x7FFFFFFF),
    # MQTT 5.0, sections 1.5.5 and 2.1: type and flags, Remaining Length
    "mqtt": lambda: VarintLength(4, offset=1, strip=0, max_size=5 + 0xFFFFFFF),
    # D-Bus specification, Message Format; at most 2**27 bytes
    "dbus": lambda: Computed(16, dbus_size, max_size=1 << 27),
    # FIX session layer, StandardHeader and StandardTrailer; the smallest: 8=FIX.4.0, 9=5, 35=0, 10=nnn
    "fix": lambda: Computed(26, fix_size),
    # Protocol Buffers, writeDelimitedTo: parsers take varints that aren't minimal
    "protobuf_delimited": lambda: VarintLength(5, strict=False),
    # Language Server Protocol and Debug Adapter Protocol, Base Protocol
    "lsp": ContentLength,
    # jsonlines.org: the newline behind the last value may be missing. MCP, stdio transport
    "jsonlines": lambda: Delimiter(b"\n", at_eof="deliver"),
    # cr.yp.to/proto/netstrings.txt
    "netstring": Netstring,
    # RFC 6587, section 3.4.1
    "syslog_rfc6587": lambda: AsciiLength(10, separator=b" "),
    # Tutorials: sentdex's f"{len(msg):<10}", Tech With Tim's HEADER = 64
    "ascii10": lambda: AsciiLength(10, pad=b" ", align="left"),
    "ascii64": lambda: AsciiLength(64, pad=b" ", align="left"),
    # --- Databases ---
    # PostgreSQL, Message Formats: type, length that counts itself
    "postgres": lambda: LengthField(4, signed=True, offset=1, adjustment=-4, strip=0, max_size=1 + (1 << 30)),
    # PostgreSQL, StartupMessage, SSLRequest, CancelRequest: without a type; MAX_STARTUP_PACKET_LENGTH
    "postgres_startup": lambda: LengthField(4, signed=True, adjustment=-4, max_size=10_000),
    # MySQL, Protocol::Packet: length, sequence id; a length of 0xffffff goes on in the next packet
    "mysql": lambda: LengthField(3, "little", header_size=4, strip=0, max_size=4 + 0xFFFFFF),
    # MongoDB, wire protocol: messageLength of MsgHeader; maxMessageSizeBytes
    "mongodb": lambda: LengthField(
        4, "little", signed=True, header_size=16, adjustment=-16, strip=0, max_size=48_000_000
    ),
    # bsonspec.org: the length is a part of the document
    "bson": lambda: LengthField(4, "little", signed=True, adjustment=-4, strip=0, max_size=16 << 20),
    # Cassandra native_protocol_v4.spec, section 2
    "cassandra_v3": lambda: LengthField(4, signed=True, offset=5, strip=0, max_size=9 + (256 << 20)),
    # Cassandra native_protocol_v5.spec, section 2.2, uncompressed: 17 bits, self-contained flag, CRC24; CRC32 behind it
    "cassandra_v5_segment": lambda: LengthField(3, "little", header_size=6, adjustment=4, strip=0, mask=0x1FFFF),
    # MS-TDS, section 2.2.3.1: type, status, length of all; the largest packet
    "tds": lambda: LengthField(2, offset=2, header_size=8, adjustment=-8, strip=0, max_size=32_767),
    # memcached protocol-binary, Packet Structure: total body length
    "memcached_binary": lambda: LengthField(4, offset=8, header_size=24, strip=0, max_size=24 + 1_048_600),
    # Redis, cluster_legacy.h: "RCmb" and totlen of clusterMsg
    "redis_cluster_bus": lambda: LengthField(4, offset=4, adjustment=-8, magic=b"RCmb"),
    # --- Networks ---
    # RFC 1035, section 4.2.2
    "dns_tcp": lambda: LengthField(2),
    # RFC 4271, section 4.1: marker, length of all, type
    "bgp": lambda: LengthField(
        2, offset=16, header_size=19, adjustment=-19, strip=0, magic=b"\xff" * 16, max_size=4096
    ),
    # OpenFlow 1.3, section 7.1: version, type, length of all, xid
    "openflow": lambda: LengthField(2, offset=2, header_size=8, adjustment=-8, strip=0),
    # RFC 2865, section 3; RFC 6613, section 2
    "radius_tcp": lambda: LengthField(2, offset=2, header_size=20, adjustment=-20, strip=0, max_size=4096),
    # RFC 6733, section 3
    "diameter": lambda: LengthField(3, offset=1, header_size=20, adjustment=-20, strip=0),
    # RFC 8446, section 5.2: 2**14 + 256 bytes
    "tls_record": lambda: LengthField(2, offset=3, strip=0, max_size=5 + 16_640),
    # RFC 9113, section 4.1
    "http2": lambda: LengthField(3, header_size=9, strip=0, max_size=9 + 0xFFFFFF),
    # RFC 1006, section 6: version 3, reserved, length of all
    "tpkt": lambda: LengthField(2, offset=2, adjustment=-4, magic=b"\x03"),
    # MS-SMB2, section 2.1: zero, length
    "smb_direct_tcp": lambda: LengthField(3, offset=1, magic=b"\0"),
    # RFC 7826, section 14: $, channel, length
    "rtsp_interleaved": lambda: LengthField(2, offset=2, strip=0, magic=b"$"),
    # Bitcoin developer reference, Message Headers, main network: magic, command, length, checksum
    "bitcoin": lambda: LengthField(
        4, "little", offset=16, header_size=24, strip=0, magic=b"\xf9\xbe\xb4\xd9", max_size=24 + 4_000_000
    ),
    # BEP 3, peer messages, behind the handshake
    "bittorrent": lambda: LengthField(4, max_size=1_048_585),
    # Minecraft Java, Packet format, not encrypted: proxies write three bytes for small lengths too
    "minecraft": lambda: VarintLength(3, strict=False),
    # Valve, Source RCON Protocol: size, which doesn't count itself
    "source_rcon": lambda: LengthField(4, "little", signed=True, max_size=4110),
    # ROS 1, TCPROS
    "ros_tcpros": lambda: LengthField(4, "little"),
    # --- Tools and agents ---
    # Chrome and Firefox, native messaging: at most 64 MiB to the host
    "native_messaging": lambda: LengthField(4, sys.byteorder, max_size=64 << 20),
    # Discord, RPC over IPC: opcode, length
    "discord_ipc": lambda: LengthField(4, "little", offset=4, strip=0, max_size=8 + (64 << 10)),
    # i3 and sway, IPC: "i3-ipc", length, type
    "i3_ipc": lambda: LengthField(4, sys.byteorder, offset=6, header_size=14, strip=0, magic=b"i3-ipc"),
    # draft-ietf-sshm-ssh-agent, section 3; OpenSSH's AGENT_MAX_LEN
    "ssh_agent": lambda: LengthField(4, max_size=256 << 10),
    # draft-ietf-secsh-filexfer-02, section 3; 4 MiB of data and its header
    "sftp": lambda: LengthField(4, max_size=(4 << 20) + 1024),
    # Git protocol-common, pkt-line Format
    "git_pktline": lambda: Computed(4, git_pktline_size, max_size=65_520),
    # Android, adb OVERVIEW, host services: four hex digits
    "adb_host": lambda: AsciiLength(4, base=16),
    # Android, adb protocol.txt, struct message: data_length is the fourth of six words
    "adb_transport": lambda: LengthField(4, "little", offset=12, header_size=24, strip=0, max_size=24 + (1 << 20)),
    # Apple usbmuxd: length of all, version, message, tag
    "usbmuxd": lambda: LengthField(4, "little", header_size=16, adjustment=-16, strip=0),
    # Apple lockdownd: a property list
    "lockdownd": lambda: LengthField(4),
    # Apple Companion link: type, length
    "apple_companion": lambda: LengthField(3, offset=1, strip=0, max_size=4 + 0xFFFFFF),
    # Google Cast v2, CastMessage
    "chromecast": lambda: LengthField(4, max_size=64 << 10),
    # Docker Engine API, Attach to a container, Stream format: stream, three zeros, length
    "docker_stream": lambda: LengthField(4, offset=4, strip=0),
    # Zabbix, Header: "ZBXD", flags, length, reserved; without the large-packet flag
    "zabbix": lambda: LengthField(
        4, "little", offset=5, header_size=13, strip=0, magic=b"ZBXD", max_size=13 + (1 << 30)
    ),
    # NRPE, common.h, version 4: buffer_length is the last of the header
    "nrpe_v4": lambda: LengthField(4, offset=12, strip=0, max_size=16 + (64 << 10)),
    # Amazon Transcribe, Event stream encoding: length of all, length of the headers, CRC; CRC behind it
    "aws_eventstream": lambda: LengthField(4, header_size=12, adjustment=-12, strip=0, max_size=25_296_912),
    # TensorFlow, TFRecord format: length, its CRC; data; its CRC
    "tfrecord": lambda: LengthField(8, "little", header_size=12, adjustment=4, strip=0),
    # Avro, Object Container Files: the blocks behind the file's header
    "avro_container": lambda: Computed(18, avro_block_size),
    # --- Instruments, industry, home ---
    # Modbus Messaging on TCP/IP 1.0b, section 3.1.3: the length counts the unit id; at most 260 bytes in all
    "modbus_tcp": lambda: LengthField(2, offset=4, header_size=7, adjustment=-1, strip=0, max_size=6 + 254),
    # OPC UA part 6, section 7.1.2: type, chunk type, length of all; the usual buffer size
    "opcua_tcp": lambda: LengthField(4, "little", offset=4, adjustment=-8, strip=0, max_size=65_535),
    # DICOM PS3.8, section 9.3: type, reserved, length
    "dicom_ul": lambda: LengthField(4, offset=2, strip=0),
    # HL7, Minimal Lower Layer Protocol, release 1: <VT> payload <FS><CR>
    "mllp": lambda: Delimiter(b"\x1c\r", start=b"\x0b"),
    # IVI-6.1 HiSLIP, section 2.2: "HS", type, control code, parameter, length
    "hislip": lambda: LengthField(8, offset=8, strip=0, magic=b"HS"),
    # ODVA, The CIP Networks Library volume 2, section 2-3.1: command, length
    "ethernet_ip": lambda: LengthField(2, "little", offset=2, header_size=24, strip=0, max_size=24 + 65_511),
    # Beckhoff TE1000, AMS/TCP Header: two bytes, which the local router uses for commands, and the length
    "ads_ams_tcp": lambda: LengthField(4, "little", offset=2, strip=0),
    # IEC 60870-5-104, section 5: 0x68, length
    "iec104": lambda: LengthField(1, offset=1, magic=b"\x68", max_size=253),
    # mavlink.io, Packet Serialization: a CRC of two bytes behind the payload; version 2 without signature
    "mavlink1": lambda: LengthField(1, offset=1, header_size=6, adjustment=2, strip=0, magic=b"\xfe"),
    "mavlink2": lambda: LengthField(1, offset=1, header_size=10, adjustment=2, strip=0, magic=b"\xfd"),
    # ESPHome native API, encrypted: 1, length
    "esphome_noise": lambda: LengthField(2, offset=1, magic=b"\x01"),
    # TP-Link Kasa: the payload is obfuscated by XOR
    "kasa_xor": lambda: LengthField(4),
    # Tuya 3.1 to 3.4: magic, sequence, command, length, which counts the CRC and the suffix
    "tuya_55aa": lambda: LengthField(4, offset=12, strip=0, magic=b"\0\0\x55\xaa", max_size=16 + 4096),
    # Tuya 3.5: magic, two bytes, sequence, command, length, which doesn't count the suffix
    "tuya_6699": lambda: LengthField(
        4, offset=14, adjustment=4, strip=0, trailer=b"\0\0\x99\x66", magic=b"\0\0\x66\x99", max_size=18 + 4096
    ),
}
