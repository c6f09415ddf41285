"""The public workflow does what .ci/run does, on the versions that the program says it works on."""

from __future__ import annotations

import re

import pytest
import yaml

from simnl.locations import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
JOB = WORKFLOW["jobs"]["tests"]
SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # Python 3.10 has no reader of toml


def test_it_runs_the_same_commands():
    """The script itself is the one step that tests: the workflow has no list of commands that could differ."""
    commands = [step["run"] for step in JOB["steps"] if "run" in step]
    assert commands == ["echo '${{ matrix.torch }}' > \"$PIP_CONSTRAINT\"", "bash .ci/run"]
    actions = [step["uses"].partition("@")[0] for step in JOB["steps"] if "uses" in step]
    assert actions == ["actions/checkout", "actions/setup-python"]
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # yaml reads `on` as a truth value


@pytest.mark.parametrize("command", ["ruff", "lint-imports", "mypy", "check-jsonschema", "pytest"])
def test_the_script_has_every_check_of_contributing(command):
    assert command in SCRIPT
    assert command in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_script_takes_the_constraint():
    """pip reads PIP_CONSTRAINT; a python of its own would not be the matrix's."""
    assert "pip install --quiet --disable-pip-version-check -r requirements-dev.txt" in SCRIPT
    assert "python3 -m venv" in SCRIPT
    assert JOB["env"] == {"PIP_CONSTRAINT": "${{ github.workspace }}/constraints.txt"}


def test_the_pythons():
    pythons = JOB["strategy"]["matrix"]["python"]
    named = re.findall(r'"Programming Language :: Python :: ([\d.]+)"', PROJECT)
    assert pythons == named == ["3.10", "3.11", "3.12", "3.13"]
    assert f'requires-python = ">={pythons[0]}"' in PROJECT
    python = next(step["with"] for step in JOB["steps"] if "setup-python" in step.get("uses", ""))
    assert python["python-version"] == "${{ matrix.python }}"


def test_the_versions_of_torch():
    oldest, newest = JOB["strategy"]["matrix"]["torch"]
    floor = re.search(r"^torch>=([\d.]+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)[1]
    assert (oldest, newest) == (f"torch=={floor}.*", f"torch>={floor}")
