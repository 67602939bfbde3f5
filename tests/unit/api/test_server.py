"""The process: its sockets, its certificate, its signals."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.api.conftest import CONFIG, Api, start, write_certificate


def refused(folder: Path, config: str = CONFIG) -> str:
    """What a server that does not start says."""
    process = start(folder, config=config)
    assert process.stdout
    assert process.stdout.read() == b""
    assert process.wait(30) == 1
    process.stdout.close()
    return (folder / "log").read_text()


def certificate(api: Api) -> bytes:
    """The one that the server shows now."""
    host, _, port = str(api.about["listen"]).rpartition(":")
    return ssl.get_server_certificate((host, int(port))).encode()


def test_the_socket_is_the_owners_alone_and_gone_at_the_end(own: Callable[..., Api]) -> None:
    api = own()
    assert stat.S_IMODE(api.socket.stat().st_mode) == 0o600
    assert api.local.get("/v1/healthz").status_code == 200
    assert api.end() == 0
    assert not api.socket.exists()


def test_the_sockets_mode_is_the_configured_one(own: Callable[..., Api]) -> None:
    api = own(config=CONFIG + 'socket_mode = "0660"\n')
    assert stat.S_IMODE(api.socket.stat().st_mode) == 0o660


def test_without_tls_there_is_no_tcp(own: Callable[..., Api], tmp_path: Path) -> None:
    api = own(config=CONFIG.partition("[api]")[0])
    assert api.about["listen"] is None
    api.end()
    lines = [line for line in CONFIG.splitlines() if not line.startswith("tls_")]
    assert "tls_certificate_file" in refused(tmp_path, "\n".join(lines))


def test_a_killed_servers_socket_is_replaced_and_a_running_ones_is_not(own: Callable[..., Api], tmp_path: Path) -> None:
    first = own()
    first.end(signal.SIGKILL)
    assert first.socket.exists()
    second = own()
    assert "another server listens there" in refused(tmp_path)
    assert second.local.get("/v1/healthz").status_code == 200


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "wg0.api.sock").write_text("mine")
    assert "is no socket" in refused(tmp_path)
    assert (tmp_path / "wg0.api.sock").read_text() == "mine"


def test_a_link_in_the_sockets_place_is_not_followed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "elsewhere"))  # nobody listens: were it ours, it would be taken away
    (tmp_path / "wg0.api.sock").symlink_to(tmp_path / "elsewhere")
    assert "is no socket" in refused(tmp_path)
    assert (tmp_path / "wg0.api.sock").is_symlink()
    assert (tmp_path / "elsewhere").is_socket()


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", ["nonsense", "-----BEGIN NONSENSE-----\n"])
def test_a_bad_certificate_file_is_told_by_its_field(tmp_path: Path, name: str, content: str) -> None:
    write_certificate(tmp_path)
    (tmp_path / name).write_text(content)
    field = "tls_certificate_file" if name == "cert.pem" else "tls_private_key_file"
    assert f"api.{field}: {tmp_path / name}" in refused(tmp_path)


def test_a_missing_key_file_is_told_by_its_field(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    (tmp_path / "key.pem").unlink()
    assert f"api.tls_private_key_file: {tmp_path / 'key.pem'}: No such file" in refused(tmp_path)


def test_sighup_reads_the_certificate_again_and_sessions_stay(own: Callable[..., Api], tmp_path: Path) -> None:
    api = own()
    session, before = api.remote(api.token("read")), certificate(api)
    assert session.get("/v1/count").status_code == 200
    write_certificate(tmp_path)
    api.process.send_signal(signal.SIGHUP)
    while certificate(api) == before:
        pass
    assert certificate(api).split() == (tmp_path / "cert.pem").read_bytes().split()
    assert session.get("/v1/count").status_code == 200  # the connection is the old one: it trusts the old certificate
    shutil.copy(tmp_path / "cert.pem", tmp_path / "kept.pem")
    (tmp_path / "cert.pem").write_text("nonsense")
    api.process.send_signal(signal.SIGHUP)
    while "stays as it was" not in api.log():
        pass
    assert certificate(api).split() == (tmp_path / "kept.pem").read_bytes().split()


def test_a_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = start(tmp_path)
        assert manager.recv(1000).startswith(b"READY=1\n")
        process.terminate()
        assert manager.recv(1000).startswith(b"STOPPING=1\n")
        assert process.wait(30) == 0
        assert process.stdout
        process.stdout.close()


def test_what_is_not_http_gets_a_problem(api: Api) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(api.socket))
        client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        answer = b""
        while part := client.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"urn:wgjit:problem:malformed" in answer
