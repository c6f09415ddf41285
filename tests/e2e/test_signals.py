"""SIGTERM and Ctrl-C in every phase: one line, the right exit code, no process left, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.e2e_tools import REPO
from simnl.interrupts import line

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's /proc")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
MAIN = "bash scripts/simnl/main.sh shapes 1 OPTIM.MAX_EPOCH 4000"
SHAPES = "--trainer SimNL --dataset-config-file configs/datasets/shapes.yaml"
PREDICT = "python tools/predict.py tests/goldens/heads/format-2/CoCoOp.safetensors README.md"
JOBS = "bash scripts/benchmark.sh fewshot --datasets shapes --methods SimNL --shots 1 2 --seeds 1 --jobs 2"


def importing(process: int, output: Path) -> bool:
    """PyTorch is being loaded."""
    return "libtorch" in Path(f"/proc/{process}/maps").read_text()


def running(process: int, output: Path) -> bool:
    return bool(list(output.rglob("log.txt")))


def both_running(process: int, output: Path) -> bool:
    return len(list(output.rglob("log.txt"))) == 2


def with_workers(process: int, output: Path) -> bool:
    """Loader workers decode."""
    return running(process, output) and len(members(process)) > 2


def members(session: int) -> list[str]:
    """The processes of a session, by their command lines; zombies have none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session and (text := (folder / "cmdline").read_text()):
                found.append(text.replace("\0", " "))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.parametrize(
    ("command", "phase", "number", "to_group"),
    [
        (f"python tools/train.py {SHAPES}", importing, signal.SIGINT, False),
        (PREDICT, importing, signal.SIGINT, False),
        (MAIN, importing, signal.SIGINT, True),
        (MAIN, importing, signal.SIGTERM, False),
        (MAIN, running, signal.SIGINT, True),
        (f"{MAIN} DATALOADER.NUM_WORKERS 2 VIEWS.CACHE 60", with_workers, signal.SIGINT, True),
        (f"{JOBS} OPTIM.MAX_EPOCH 4000", both_running, signal.SIGTERM, True),
    ],
)
def test_a_signal_ends_with_one_line(variables, tmp_path, command: str, phase: Callable, number: int, to_group: bool):
    env = variables | {"SEEDS": "1"}
    words = command.replace("python", env["PYTHON"], 1).split() if command.startswith("python") else command.split()
    errors, output = tmp_path / "errors.txt", Path(env["OUTPUT"])
    with open(errors, "w") as file:
        process = subprocess.Popen(
            words,
            cwd=REPO,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # ignored where tests run in the background
        )
    until(lambda: phase(process.pid, output), process, errors)
    (os.killpg if to_group else os.kill)(process.pid, number)
    assert process.wait(120) == CODES[number], errors.read_text()
    told = errors.read_text()
    assert told.splitlines()[-1].split("\r")[-1] == line(number), told
    assert told.count("Interrupted by") == 1
    assert "Traceback" not in told
    assert "Error" not in told
    end = time.monotonic() + 20  # on a busy machine a job may outlive its cancellation for a moment
    while members(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert members(process.pid) == []
    assert not [path for path in output.rglob("*.err") if "Traceback" in path.read_text()]


def until(there: Callable[[], bool], process: subprocess.Popen, errors: Path) -> None:
    end = time.monotonic() + 120
    while not there():
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
