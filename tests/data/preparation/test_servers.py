"""Servers that talk nonsense, never end, or hardly begin: named, bounded, timed out."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from simnl.data.preparation import fetch as fetching
from simnl.data.preparation import transfer
from simnl.data.preparation.fetch import FetchError, fetch
from simnl.data.preparation.sources import Remote

OK = b"HTTP/1.1 200 OK\r\n"
BODY = os.urandom(5000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    for name, value in (("TIMEOUT", 0.3), ("ANSWER", 0.6), ("WINDOW", 0.3), ("LIMIT", 1_000_000), ("RESERVE", 1)):
        monkeypatch.setattr(transfer, name, value)


@pytest.fixture
def server():
    """`server(*pieces)`: the address of a server that answers each request by `pieces`, bytes or calls that give them
    for ever; `server.asked` lists the heads of the requests."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers: list = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            address.asked.append(connection.recv(65536).decode())
            for piece in answers:
                while callable(piece):
                    connection.sendall(piece())
                connection.sendall(piece)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    def address(*pieces) -> str:
        answers[:] = pieces
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file"

    address.asked = []
    threading.Thread(target=accept, daemon=True).start()
    yield address
    listener.close()


def slowly(content: bytes):
    """A piece for ever: a few bytes every now and then."""

    def give() -> bytes:
        time.sleep(0.05)
        return content

    return give


def failure(url: str, folder: Path, **fields) -> str:
    with pytest.raises(FetchError) as error:
        fetch(Remote("data.bin", (url,), **fields), folder)
    first, told = str(error.value).splitlines()  # a line for each address
    assert first == "data.bin could not be downloaded:"
    assert told.startswith(f"  {url}: ")
    return told


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"Content-Length: banana\r\n", "invalid Content-Length: banana"),
        (b"Content-Length: -5\r\n", "invalid Content-Length: -5"),
        ("Content-Length: ５\r\n".encode(), "invalid Content-Length"),
        (b"Content-Length: 1e9\r\n", "invalid Content-Length: 1e9"),
        (b"Content-Length: " + b"9" * 400 + b"\r\n", "invalid Content-Length: 999"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", "invalid Content-Length: 5, 6"),
        (b"Content-Length: 99999999999999\r\n", "more than any file of a data set"),
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", "packed \\(gzip\\)"),
        (b"X: " + b"y" * 70_000 + b"\r\n", "header line"),
        (b"X: y\r\n" * 200, "100 headers"),
    ],
)
def test_nonsense_in_the_head(server, tmp_path, head, message):
    told = failure(server(OK, head, b"\r\n", b"hello"), tmp_path)
    assert re.search(message, told), told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-9/10\r\n\r\nabc", "a part of the file"),
        (b"HTTP/1.1 416 No\r\n\r\n", "answers 416 No"),
        (b"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n", "answers 302 .*infinite loop"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[bad/\r\n\r\n", "Invalid IPv6 URL"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "answers 302 .*not allowed"),
        (b"HTTP/1.1 404 \x1b[31mRed\r\n\r\n", "answers 404 \\?\\[31mRed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0"),
        (b"", "Remote end closed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nbanana\r\nhello\r\n", "IncompleteRead|broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"5" * 70_000, "reading chunk size"),
        (OK + b"Content-Length: 9999\r\n\r\nhello", "broke off"),
        (OK + b"Content-Length: 30\r\n\r\n<!DOCTYPE html><html>Busy</html", "broke off|web page"),
        (OK + b"\r\n  <HTML>Sign in</HTML>", "web page"),
    ],
)
def test_bad_answers_are_named(server, tmp_path, answer, message):
    told = failure(server(answer), tmp_path)
    assert re.search(message, told), told
    assert told.isprintable()
    assert not (tmp_path / "data.bin").exists()


@pytest.mark.parametrize("fields", [{}, {"size": 5000}, {"md5": "0" * 32}])
def test_body_without_an_end_is_bounded(server, tmp_path, fields):
    told = failure(server(OK, b"\r\n", lambda: bytes(100_000)), tmp_path, **fields)
    assert "sends more than" in told
    assert list(tmp_path.iterdir()) == []


def test_body_without_an_end_leaves_room_on_the_disk(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RESERVE", 1 << 62)
    with pytest.raises(OSError, match=r"data.bin needs .* are free. Make room"):
        fetch(Remote("data.bin", (server(OK, b"\r\n", lambda: bytes(100_000)),)), tmp_path)


def test_another_size_is_told_before_the_download(server, tmp_path):
    told = failure(server(OK, b"Content-Length: 17\r\n\r\n", lambda: b"x"), tmp_path, size=5000)
    assert "has 17 bytes, but the file has 5,000" in told


def test_a_few_bytes_now_and_then(server, tmp_path):
    """Each is in time; together they would take for ever. What came is kept."""
    told = failure(server(OK, b"Content-Length: 5000\r\n\r\n", slowly(b"x")), tmp_path, size=5000)
    assert "too slow" in told
    (part,) = tmp_path.iterdir()
    assert set(part.read_bytes()) == {ord("x")}
    url = server(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5000\r\n\r\n", b"no")  # not what is asked for
    failure(url, tmp_path, size=5000)


def test_head_that_never_ends(server, tmp_path):
    assert "no complete answer" in failure(server(OK, slowly(b"X: y\r\n")), tmp_path)


def test_no_answer_at_all(server, tmp_path):
    assert "timed out" in failure(server(slowly(b"")), tmp_path)


def test_one_byte_for_each_connection_is_no_progress(server, tmp_path):
    url = server(OK, b"Content-Length: 5000\r\n\r\n", b"x")
    assert "broke off" in failure(url, tmp_path)
    assert len(server.asked) == fetching.ATTEMPTS


def test_part_of_another_range_is_not_joined(server, tmp_path):
    url = server(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-4/5000\r\nContent-Length: 5\r\n\r\n", b"hello")
    remote = Remote("data.bin", (url,), md5="0" * 32)
    (tmp_path / "data.bin.part").write_bytes(BODY[:100])
    with pytest.raises(FetchError, match="broke off"):
        fetch(remote, tmp_path)
    assert (tmp_path / "data.bin.part").read_bytes() == b"hello"  # what was asked for from the start, and named so


def test_body_whose_end_is_told_by_the_connection(server, tmp_path):
    assert fetch(Remote("data.bin", (server(OK, b"\r\n", BODY),)), tmp_path).read_bytes() == BODY
