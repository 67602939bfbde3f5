"""`wgjit decode`: over captures of recorded handshakes, one message, and input that is neither."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.unit.wire.captures import LINKS, enhanced, interface, pcap, section
from tests.unit.wire.vectors import HANDSHAKES, PACKETS, Handshake
from wgjit.cli.shared.application import command_line
from wgjit.errors import InvalidValue
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import build

TIME = 1_700_000_000.25
PROVEN = HANDSHAKES[0]
SOURCE, DESTINATION = Endpoint.parse("192.0.2.7:4000"), Endpoint.parse("192.0.2.2:51820")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path, PROVEN)


def write_key(folder: Path, handshake: Handshake) -> Path:
    file = folder / "private.key"
    file.write_text(handshake.responder.reveal_base64() + "\n")
    return file


def run(key: Path, *arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(command_line(), ["decode", "--private-key", str(key), *map(str, arguments)], input=stdin)


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exception is None
    return [json.loads(line) for line in result.stdout.splitlines()]


def fault(result: Result) -> str:
    assert isinstance(result.exception, InvalidValue)
    return str(result.exception)


def test_a_capture_of_real_handshakes(tmp_path: Path) -> None:
    """Each key opens its own initiation, in a file that holds all of them and the answers."""
    file = tmp_path / "all.pcap"
    file.write_bytes(pcap([(TIME + number, packet) for number, packet in enumerate(PACKETS)]))
    everything = [(number, kind, h) for number, (h, kind) in enumerate((h, k) for h in HANDSHAKES for k in h.packets)]
    for mine in HANDSHAKES:
        shown = objects(run(write_key(tmp_path, mine), "--json", file))
        initiations = [(number, h) for number, kind, h in everything if kind == "initiation"]
        assert len(shown) == len(initiations) == 20
        for line, (number, handshake) in zip(shown, initiations, strict=True):
            assert line["time"] == f"{datetime.fromtimestamp(TIME + number, UTC):%Y-%m-%dT%H:%M:%S}.250000Z"
            is_ipv6 = handshake.packets["initiation"][0] >> 4 == 6
            assert line["source"].startswith("[2001:db8::1]:" if is_ipv6 else "192.0.2.1:")
            assert line["destination"] == ("[2001:db8::2]:51820" if is_ipv6 else "192.0.2.2:51820")
            if handshake.responder == mine.responder:
                assert line["proven"] is True
                assert line["refusal"] is None
                assert line["public_key"] == str(handshake.initiator.public())
                made = datetime.fromisoformat(line["timestamp"]).timestamp()
                assert abs(made - handshake.recorded_at) < 120
            else:
                assert line["proven"] is False
                assert line["refusal"] == "bad_mac1"
                assert line["public_key"] is line["timestamp"] is None


def test_standard_input_and_pcapng(key: Path) -> None:
    file = section() + interface(1) + enhanced(LINKS["Ethernet"][1](PACKETS[0]), round(TIME * 1e6))
    for arguments in ([], ["-"]):
        (line,) = objects(run(key, "--json", *arguments, stdin=file))
        assert line["time"] == "2023-11-14T22:13:20.250000Z"
        assert line["public_key"] == str(PROVEN.initiator.public())


def test_a_message_in_hex(key: Path) -> None:
    message = PROVEN.message("initiation").hex()
    spaced = " ".join(message[at : at + 8] for at in range(0, len(message), 8))
    colons = ":".join(message[at : at + 2] for at in range(0, len(message), 2))
    for text in (message, message.upper(), f"0x{message}", spaced, colons):
        (line,) = objects(run(key, "--json", text))
        assert line["proven"] is True
        assert line["public_key"] == str(PROVEN.initiator.public())
        assert line["time"] is line["source"] is line["destination"] is None


def test_a_packet_in_hex(key: Path) -> None:
    (line,) = objects(run(key, "--json", PROVEN.packets["initiation"].hex()))
    assert line["proven"] is True
    assert line["destination"] == "192.0.2.2:51820"


def test_refusals_are_named(key: Path) -> None:
    """A byte changed behind mac1's back gives bad_mac1; reserved bytes are told apart; the rest is skipped."""
    message = PROVEN.message("initiation")
    payloads = [
        message[:60] + bytes([message[60] ^ 1]) + message[61:],
        b"\x01\x00\x07\x00" + message[4:],
        message[:-1],
        message + b"\0",
        b"\x02" + message[1:],
        b"",
    ]
    file = pcap([(TIME, build(SOURCE, DESTINATION, payload)) for payload in payloads])
    lines = objects(run(key, "--json", stdin=file))
    assert [line["refusal"] for line in lines] == ["bad_mac1", "bad_reserved"]
    assert all(line["source"] == str(SOURCE) and not line["proven"] for line in lines)


def test_lines_for_a_person(key: Path) -> None:
    result = run(key, stdin=pcap([(TIME, PACKETS[0]), (TIME, HANDSHAKES[1].packets["initiation"])]))
    head, proven, refused = result.stdout.splitlines()
    assert head.split() == ["TIME", "SOURCE", "DESTINATION", "PUBLIC", "KEY", "VERDICT"]
    assert proven.split()[3:5] == [str(PROVEN.initiator.public()), "proven"]
    assert refused.split()[3:] == ["-", "bad_mac1"]
    assert len({line.index(word) for line, word in ((head, "VERDICT"), (proven, "proven"), (refused, "bad_mac1"))}) == 1


def test_no_initiation_is_said_aside(key: Path) -> None:
    result = run(key, "--json", stdin=pcap([(TIME, HANDSHAKES[0].packets["response"])]))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no initiation in this capture" in result.stderr


def test_a_time_that_no_calendar_holds_is_null(key: Path) -> None:
    file = section() + interface(101, options=[(9, b"\x00")]) + enhanced(PACKETS[0], 1 << 62)
    (line,) = objects(run(key, "--json", stdin=file))
    assert line["time"] is None
    assert line["proven"] is True


# --- what was not read --------------------------------------------------------------------------------------------


def cut(packet: bytes, size: int) -> bytes:
    """The record of a packet of which a capture has kept `size` bytes."""
    return struct.pack("<IIII", 0, 0, size, len(packet)) + packet[:size]


def test_packets_that_were_not_read_are_counted_with_the_reason_and_are_no_success(key: Path) -> None:
    gre = b"\x45\0\0\x30" + bytes(5) + b"\x2f" + bytes(38)
    file = pcap([(TIME, PACKETS[0]), (TIME, gre), (TIME, gre)]) + cut(PACKETS[0], 96)
    result = run(key, "--json", stdin=file)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1, "what was read is shown"
    assert result.stderr == (
        "wgjit: 1 initiations in 4 packets; 3 of them were not read, and may hold some: 2 GRE, "
        "1 cut short by the capture's snap length (capture whole packets: tcpdump -s 0)\n"
    )


@pytest.mark.parametrize("size", [0, 13, 14, 33, 41, 42, 96, 189])
def test_a_capture_of_cut_initiations_is_not_told_to_have_none(key: Path, size: int) -> None:
    result = run(key, stdin=pcap([], 1) + cut(LINKS["Ethernet"][1](PACKETS[0]), size))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 cut short by the capture's snap length" in result.stderr
    assert "no initiation" not in result.stderr


def test_what_was_all_read_is_said_too(key: Path) -> None:
    result = run(key, stdin=pcap([(TIME, PACKETS[0]), (TIME, PACKETS[1])]))
    assert result.exit_code == 0
    assert result.stderr == "wgjit: 1 initiations in 2 packets; all of them were read\n"


def test_a_damaged_file_is_told_with_what_was_not_read_before(key: Path) -> None:
    result = run(key, stdin=pcap([], 1) + cut(PACKETS[0], 8) + b"\0")
    assert "it ends within a record's header" in fault(result)
    assert "1 cut short" in result.stderr


@pytest.mark.parametrize("link", ["Ethernet, PPPoE", "PPP", "PPP, HDLC", "PPPoE"])
def test_initiations_behind_pppoe_and_ppp_are_read(key: Path, link: str) -> None:
    link_type, frame = LINKS[link]
    result = run(key, "--json", stdin=pcap([(TIME, frame(PACKETS[0]))], link_type))
    (line,) = objects(result)
    assert line["proven"] is True


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_a_cut_capture_shows_what_was_whole(key: Path) -> None:
    result = run(key, "--json", stdin=pcap([(TIME, PACKETS[0]), (TIME, PACKETS[0])])[:-1])
    assert len(result.stdout.splitlines()) == 1
    assert "it ends within a packet" in fault(result)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no-such-file.pcap", "no-such-file.pcap: no such file, and not hex"),
        ("abc", "abc: no such file, and not hex"),
        ("", "no such file, and not hex"),
        ("00", "00: 1 bytes that are no initiation"),
        (PROVEN.message("response").hex(), "...: 92 bytes that are no initiation"),
        (PROVEN.message("initiation").hex()[:-2], "...: 147 bytes that are no initiation"),
        (PROVEN.packets["response"].hex(), "...: 120 bytes that are no initiation"),
        ("zz" * 3000, "...: no such file, and not hex"),
    ],
)
def test_what_is_no_input_is_said(key: Path, text: str, said: str) -> None:
    assert said in fault(run(key, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path, key: Path) -> None:
    assert fault(run(key, tmp_path)) == f"{tmp_path}: Is a directory"
    absent = tmp_path / "absent"
    assert fault(run(absent, "00")) == f"--private-key {absent}: No such file or directory"
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not a capture")
    assert "neither pcap nor pcapng" in fault(run(key, foreign))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"secret-but-not-a-key", b"A" * 44, b"[Interface]\nPrivateKey = x\n"]
)
def test_a_file_that_holds_no_key_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "private.key"
    file.write_bytes(content)
    said = fault(run(file, "00"))
    assert said.startswith(f"--private-key {file}: private key: not a WireGuard key")
    assert "secret" not in said


def test_the_command_ends_with_one_line_and_status_1(tmp_path: Path, key: Path) -> None:
    command = [sys.executable, "-c", "from wgjit.cli import main; main()", "decode", "--private-key", str(key)]
    ended = subprocess.run([*command, "no-such-file"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "wgjit: no-such-file: no such file, and not hex\n"
    ended = subprocess.run([*command, PROVEN.message("initiation").hex()], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert PROVEN.responder.reveal_base64() not in ended.stdout + ended.stderr


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.one_of(
        st.binary(max_size=200),
        st.binary(min_size=144, max_size=144).map(lambda rest: b"\1\0\0\0" + rest),
    )
)
def test_any_payload_gives_a_line_or_nothing(key: Path, payload: bytes) -> None:
    result = run(key, "--json", stdin=pcap([(TIME, build(SOURCE, DESTINATION, payload))]))
    for line in objects(result):
        assert line["refusal"] in ("bad_mac1", "bad_reserved", "bad_static", "bad_point")
    assert len(result.stdout.splitlines()) == (len(payload) == 148 and payload[0] == 1)
