"""Whoever waits for a lock says for what and for whom."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from filelock import FileLock

from simnl.runs.logs import configure_logging
from simnl.waiting import ANYBODY, holder, holding

REPO = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
sys.path.insert(0, {repo!r})
from simnl.waiting import holding
with holding({path!r}, "does it"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock; and the lock's path."""
    path = str(tmp_path / "a.lock")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(repo=str(REPO), path=path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process, path
    process.kill()
    process.wait()


def stopped(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


def test_a_waiting_process_says_for_what_and_for_whom_now_and_then(other, monkeypatch, caplog):
    process, path = other
    monkeypatch.setattr("simnl.waiting.FIRST_WORD", 0.1)
    monkeypatch.setattr("simnl.waiting.NEXT_WORD", 0.2)
    messages, warning = [], logging.Logger.warning

    def told(self, *args):
        warning(self, *args)
        messages.append(caplog.messages[-1])
        if len(messages) == 1:
            stopped(process.pid)
        if len(messages) == 2:
            process.kill()

    monkeypatch.setattr(logging.Logger, "warning", told)
    with caplog.at_level(logging.WARNING), holding(path, "encodes features for x") as mine:
        assert mine
        assert holder(Path(f"{path}.holder")) == f"process {os.getpid()}"
    assert messages[0] == f"Waiting for process {process.pid}, which encodes features for x (for 0 s so far)."
    assert f"process {process.pid} (it is stopped: `kill -CONT {process.pid}` lets it go on" in messages[1]
    assert not Path(f"{path}.holder").exists()


def test_it_is_said_where_what_the_engine_prints_is_dropped(other, monkeypatch, capsys):
    process, path = other
    monkeypatch.setattr("simnl.waiting.FIRST_WORD", 0.1)
    configure_logging(quiet=True)
    threading.Timer(0.5, process.kill).start()
    with redirect_stdout(None), holding(path, "renders the images in x"):
        pass
    told = capsys.readouterr().err
    assert told == f"Note: Waiting for process {process.pid}, which renders the images in x (for 0 s so far).\n"


def test_who_does_not_want_to_wait_learns_that_it_is_held(other):
    with holding(other[1], "does it", wait=False) as mine:
        assert not mine
    other[0].kill()
    other[0].wait()
    with holding(other[1], "does it", wait=False) as mine:
        assert mine


def test_nobody_is_told_of_a_lock_that_is_free(tmp_path, caplog):
    start = time.monotonic()
    with holding(tmp_path / "a.lock", "does it"):
        assert time.monotonic() - start < 60
    assert not caplog.messages


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (None, ANYBODY),
        ("", ANYBODY),
        ("nonsense here", ANYBODY),
        ("-1 here", ANYBODY),
        (f"{10**30} here", ANYBODY),
        ("17 some-other-machine", "process 17 on some-other-machine"),
    ],
)
def test_a_note_that_says_nothing_is_no_error(tmp_path, note, words):
    file = tmp_path / "a.lock.holder"
    if note is not None:
        file.write_text(note)
    assert holder(file) == words


def test_a_note_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "a.lock.holder").mkdir()
    with holding(tmp_path / "a.lock", "does it") as mine:
        assert mine
        lock = FileLock(str(tmp_path / "a.lock"))
        assert not lock.is_locked
