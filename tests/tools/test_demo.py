"""tools/demo.py as a user types it: where the page is, who can reach it, how it ends, and what is refused."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from helpers.e2e_tools import REPO
from simnl.demo.command import listening, run


def test_a_page_at_once_for_this_machine_alone_and_ctrl_c(tmp_path):
    """All of it within the first seconds, while the model is still being loaded."""
    command = [sys.executable, "tools/demo.py", "--no-browser", "--device", "cpu"]
    env = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=REPO, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        first, second = process.stdout.readline(), process.stdout.readline()
        port, token = re.fullmatch(r"The page is http://127\.0\.0\.1:(\d+)/([\w-]{32})/\n", first).groups()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{token}/", timeout=30) as answer:
            assert b"Teach with pictures" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
        with pytest.raises(ConnectionRefusedError):  # another address of this machine
            socket.create_connection(("127.0.0.2", int(port)), timeout=30)
        assert [path.name[:11] for path in tmp_path.iterdir()] == ["simnl-demo-"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        out, err = process.stdout.read(), process.stderr.read()
    finally:
        process.kill()
    assert second == "This machine alone can open it. Ctrl-C ends it.\n"
    assert (out, err) == ("Stopped by Ctrl-C. What was on the page is gone, except for what you saved.\n", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_told_before_anything_starts(tmp_path, monkeypatch):
    with listening(0) as other:
        port = other.getsockname()[1]
        said = f"Port {port} cannot be used: it is in use. Choose another one, or leave --port out for a free one."
        with pytest.raises(OSError, match=re.escape(said)):
            run(["--port", str(port), "--no-browser"])
    cases = [
        (["--device", "tpu"], ValueError, "Unknown device 'tpu'. Use auto, cpu, cuda or cuda:N."),
        ([str(tmp_path / "no.safetensors")], OSError, f"There is no head file {tmp_path / 'no.safetensors'}."),
        (["--support-images", "nowhere"], OSError, "--support-images is nowhere, and there is no such folder."),
    ]
    for words, kind, said in cases:
        with pytest.raises(kind, match=re.escape(said)):
            run([*words, "--no-browser"])
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    said = "The page needs packages that are not installed (uvicorn): run .venv/bin/pip install uvicorn"
    with pytest.raises(ImportError, match=re.escape(said)):
        run([])
