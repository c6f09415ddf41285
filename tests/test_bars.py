"""Progress: labelled bars that leave nothing behind on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import ast
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest

from helpers.e2e_tools import REPO
from simnl import bars

WORK = """
import time
from simnl import bars
with bars.bar("Encoding images", 20, "view") as bar:
    for _ in range(20):
        time.sleep(0.02)
        bar.update()
print("over")
"""


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("simnl.bars.time.monotonic", lambda: now[0])
    return now


def test_lines_now_and_then_where_there_is_no_terminal(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars.bar("Encoding images", 1000, "view") as bar:
        for _ in range(1000):
            clock[0] += 0.1
            bar.update()
    lines = sys.stderr.getvalue().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"Encoding images: 30\d of 1000 views \(30 %\), about 70 s left", lines[0])


def test_quick_work_says_nothing_and_totals_may_be_unknown(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars.bar("Searching", 10, "step") as bar:
        bar.update(10)
    assert sys.stderr.getvalue() == ""
    for total, text in (
        (None, "download a.tar: 40 MB"),
        (80_000_000, "download a.tar: 40 MB of 80 MB (50 %), about 31 s left"),
    ):
        with bars.bar("download a.tar", total, "B") as bar:
            clock[0] += 31
            bar.update(40_000_000)
        assert sys.stderr.getvalue().splitlines()[-1] == text


def test_resumed_work_is_timed_from_where_it_went_on(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars.bar("download a.tar", 100_000_000, "B", initial=50_000_000) as bar:
        clock[0] += 40
        bar.update(25_000_000)
    assert "75 MB of 100 MB (75 %), about 40 s left" in sys.stderr.getvalue()


def test_hidden_is_hidden(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars.bar("Encoding images", 10, "view", shown=False) as bar:
        clock[0] += 100
        bar.update()
    assert sys.stderr.getvalue() == ""


def test_a_watcher_is_told_instead(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    told = []

    def watcher(*what):
        told.append(what)
        if what[1] == 4:
            raise InterruptedError

    with bars.watched(watcher):
        bar = bars.bar("Encoding images", 10, "view", shown=False)
        clock[0] += 100
        bar.update(2)
        with pytest.raises(InterruptedError):
            bar.update(2)
        threading.Thread(target=lambda: bars.bar("elsewhere", 1, "view", shown=False).update()).start()
    bars.bar("later", 1, "view", shown=False).update()
    assert told == [("Encoding images", done, 10) for done in (0, 2, 4)]
    assert sys.stderr.getvalue() == ""


def test_a_terminal_gets_a_labelled_bar_that_is_removed():
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", WORK], cwd=REPO, stdout=child, stderr=child)
    os.close(child)
    text = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(parent)
    assert process.wait() == 0
    drawn = text.decode().split("\r")
    assert any(part.startswith("Encoding images: ") and "%|" in part for part in drawn)
    last = [part for part in drawn if part.strip()][-1]
    assert last.strip() == "over"
    before = text.decode().split("over")[0].split("\r")
    assert not before[-1].strip()  # the line is blank when the next text comes


def test_every_bar_comes_from_here():
    """tqdm is used in one place, and by the engine, which is a distribution of its own, where each bar has a label."""
    for path in (
        p for folder in REPO.iterdir() if folder.is_dir() and folder.name[0] not in "._" for p in folder.rglob("*.py")
    ):
        if "tests" in path.parts or "build" in path.parts or "output" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if "toolbox" not in path.parts:
            assert "from tqdm" not in text or path == REPO / "simnl" / "bars.py", path
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm":
                given = {keyword.arg for keyword in node.keywords}
                assert {"leave", "disable"} <= given
                assert len(node.args) > 1 or "desc" in given
