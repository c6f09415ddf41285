"""Commands in messages work as they stand, whatever the folder and the python; tools say what they lack."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.e2e_tools import REPO
from simnl import commands
from simnl.commands import as_typed
from simnl.config_names import known
from simnl.errors import fail_politely
from simnl.runs.methods import letters, method_of, script_of

FOLDERS = ("datasets", "simnl", "tools", "trainers")
THROUGH = ("as_typed", "nothing")  # `nothing` makes an exception


def test_from_the_repository_with_its_own_environment(monkeypatch):
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, "executable", str(REPO / ".venv" / "bin" / "python"))
    text = "Run `python tools/table.py output`, or\n  DATA=/data bash scripts/simnl/main.sh shapes 16"
    typed = text.replace("python tools", ".venv/bin/python tools")
    assert as_typed(text) == typed
    assert as_typed(typed) == typed


def test_from_elsewhere_with_roots(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/a venv/bin/python")
    monkeypatch.setattr(commands, "ROOT", Path("/a b/repo"))
    typed = as_typed("python tools/table.py output, bash scripts/run.sh SimNL")
    words = [
        "/opt/a venv/bin/python",
        "/a b/repo/tools/table.py",
        "output,",
        "bash",
        "/a b/repo/scripts/run.sh",
        "SimNL",
    ]
    assert shlex.split(typed) == words
    assert as_typed(typed) == typed


def test_an_environment_that_is_active_is_called_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(REPO)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert as_typed("python tools/plot.py") == f"{python} tools/plot.py"
    monkeypatch.setenv("PATH", str(python.parent))
    assert as_typed("python tools/plot.py") == "python tools/plot.py"


def test_a_hint_can_be_typed_from_any_folder(tmp_path):
    code = "from simnl.commands import as_typed; print(as_typed('python tools/table.py --help'))"
    environment = {"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"}
    asked = [sys.executable, "-c", code]
    hint = subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    done = subprocess.run(hint, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--layout" in done.stdout


def test_errors_are_told_with_commands_as_typed(monkeypatch, capsys):
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, "executable", str(REPO / ".venv" / "bin" / "python"))

    @fail_politely
    def main() -> int:
        raise ValueError("Run `python tools/prepare_data.py dtd`.")

    assert main() == 1
    assert "`.venv/bin/python tools/prepare_data.py dtd`" in capsys.readouterr().err


def texts_of(tree: ast.AST) -> list[str]:
    """Commands in string constants that are neither raised, nor a docstring, nor given to `as_typed`."""
    handled = set()
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", "")
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_raised_later = isinstance(node, ast.keyword) and node.arg in ("missing", "command")  # by what declares it
        if isinstance(node, ast.Raise) or is_docstring or is_raised_later or name in THROUGH or name.endswith("Error"):
            handled |= {id(child) for child in ast.walk(node)}
    strings = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in handled
    ]
    return [text for text in strings if re.search(r"\bpython tools/|\bbash scripts/", text)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_in_a_message_goes_through_it(folder):
    wrong = {
        str(path.relative_to(REPO)): found
        for path in (REPO / folder).rglob("*.py")
        if (found := texts_of(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert wrong == {}


@pytest.mark.parametrize("tool", sorted(p.name for p in (REPO / "tools").glob("[!_]*.py")))
def test_a_bare_python_says_what_to_install(tool, tmp_path):
    """-I -S: a python without any installed package."""
    python = ["-S", str(REPO / "tools" / tool), "--help"]
    done = subprocess.run([sys.executable, *python], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lacks packages that are needed (torch, " in done.stderr
    assert (
        f"in {REPO} run:\n  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
        in done.stderr.replace("In ", "in ")
    )


def test_every_required_package_is_looked_for():
    import _path

    other = {"open_clip_torch": "open_clip", "pyyaml": "yaml", "scikit-learn": "sklearn", "pillow": "PIL"}
    lines = (REPO / "requirements.txt").read_text().splitlines()
    names = [re.split(r"[>=<]", line)[0] for line in lines if line and line[0] not in "#-"]
    late = {"gdown", "tensorboard", "timm"}  # the program does without, or says so itself
    assert {other.get(name, name) for name in names} - late | {"dassl"} == set(_path.NEEDED)


@pytest.mark.parametrize("script", ["main.sh", "dg.sh", "ood.sh"])
def test_the_scripts_of_methods_are_one_text(script):
    found = sorted(REPO.glob(f"scripts/*/{script}"))
    assert found
    assert len({path.read_bytes() for path in found}) == 1
    methods = [method_of(path.parent.name) for path in found]
    assert len(set(methods)) == len(methods)
    assert [script_of(method, script) for method in methods] == [f"scripts/{p.parent.name}/{script}" for p in found]


@pytest.mark.parametrize(
    ("word", "method"),
    [("SimNL", "SimNL"), ("simnl", "SimNL"), ("tip_adapter_f", "TipAdapterF"), ("zeroshot", "ZeroshotCLIP"),
     ("ZEROSHOTCLIP", "ZeroshotCLIP"), ("lp_plus_plus", "LPPlusPlus"), ("Tip-Adapter", "TipAdapter")],
)  # fmt: skip
def test_methods_have_several_spellings(word, method):
    assert method_of(word) == method


def test_no_two_methods_share_a_spelling():
    names = [letters(name) for name in known("trainers")]
    assert len(set(names)) == len(names)


def test_a_method_without_a_folder_is_started_by_run_sh():
    assert script_of("NearestMean") == "scripts/run.sh NearestMean"
    with pytest.raises(ValueError, match="Did you mean SimNL"):
        method_of("simln")
