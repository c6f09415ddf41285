"""End-to-end runs share one cache folder, so that the features of `shapes` are encoded once for all test processes, and
a python that has imported PyTorch already (helpers/warm_python.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.e2e_tools import REPO
from helpers.warm_python import warm_python

VARIABLES = (
    "DATA",
    "OUTPUT",
    "CACHE",
    "BACKBONE",
    "WEIGHTS",
    "SEEDS",
    "PRESET",
    "PROTOCOL",
    "TARGETS",
    "OUTLIERS",
    "DEVICE",
    "DEBUG",
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the folder of one test process, or of all
    (shared / "cache").mkdir(exist_ok=True)
    return shared / "cache"


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """The path of a python that starts at once."""
    with warm_python(tmp_path_factory.mktemp("python")) as path:
        yield path


@pytest.fixture
def shell(cache, tmp_path, python):
    """Run a command in bash from the repository's root, as a user types it; returns the finished process."""

    def run(command: str, **variables: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=REPO,
            env=environment(cache, tmp_path, {"PYTHON": python, **variables}),
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def shell_in(cache, tmp_path_factory, python):
    """The same in a given folder, whatever the test."""

    def run(folder: Path, command: str, **variables: object) -> subprocess.CompletedProcess:
        env = environment(cache, tmp_path_factory.getbasetemp(), {"PYTHON": python, **variables})
        return subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture
def start(cache, tmp_path):
    """The same without waiting, in a process group of its own, by a python that starts cold."""

    def run(command: str, **variables: object) -> subprocess.Popen:
        env = environment(cache, tmp_path, variables)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        return subprocess.Popen(["bash", "-c", command], cwd=REPO, env=env, **quiet)

    return run


@pytest.fixture
def refusal(cache, tmp_path, monkeypatch, capsys):
    """What a tool's main function, called here with words and variables, says against them; it must begin nothing."""

    def call(main: Callable[[], int], words: str, **variables: object) -> str:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"CACHE": cache, "OUTPUT": tmp_path / "output", **variables}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", ["tool", *words.split()])
        assert main() == 1
        out, err = capsys.readouterr()
        assert "running" not in out
        assert not list((tmp_path / "output").rglob("*"))
        return err

    return call


@pytest.fixture
def variables(cache, tmp_path) -> dict[str, str]:
    """The environment of the fixtures above, for a test that starts processes by itself."""
    return environment(cache, tmp_path, {})


def environment(cache: Path, tmp_path: Path, variables: dict) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    env |= {"PYTHON": sys.executable, "CACHE": str(cache), "OUTPUT": str(tmp_path / "output"), "OMP_NUM_THREADS": "1"}
    return env | {k: str(v) for k, v in variables.items()}
