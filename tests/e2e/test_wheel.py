"""What a wheel holds is enough: it is built and installed offline, and used from another folder than the clone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.e2e_tools import REPO
from helpers.pictures import make_pictures
from simnl import __version__

LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "output", "data", "tests", "benchmarks", "build", "*.egg-info")
EXAMPLE = re.search(r"```python\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), re.S)[1]
USE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]  # that of the clone
import logging, os, signal, threading
import open_clip, sklearn.base, torch  # what these change is not ours
def state():
    return {
        "log": [logging.root.level, logging.root.handlers[:], logging.getLogger("simnl").level],
        "signals": [signal.getsignal(2), signal.getsignal(15)],
        "hooks": [threading.excepthook, sys.excepthook],
        "environment": dict(os.environ),
        "generator": torch.get_rng_state().tolist(),
    }
before = state()
"""
COMMANDS = """
after = state()
assert after == before, [(key, after[key], before[key]) for key in before if after[key] != before[key]]
import dassl, simnl, trainers
from simnl.__main__ import main
print("PLACES", simnl.__file__, dassl.__file__, trainers.__file__, sep="|")
lines = "--version", "fit pictures head.safetensors --backbone tiny", "predict head.safetensors new.png", "nothing"
for line in lines:
    sys.argv = ["simnl", *line.split()]
    print("EXIT", main())
"""


def run(*command: object, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the repository, as building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPO, folder / "source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = run(*pip, "--wheel-dir", folder, folder / "source", cwd=folder, PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def ignored(at: str, names: list[str]) -> set[str]:
    """`data` and the like at the top alone: packages have folders of these names too."""
    found = LEFT_OUT(at, names)
    return found if at == str(REPO) else {name for name in found if name.startswith(".") or name == "__pycache__"}


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for folder, ending in (("configs", "yaml"), ("trainers", "py"), ("simnl", "py"), ("toolbox/dassl", "py")):
        inside = {"configs": "simnl/configs", "toolbox/dassl": "simnl/_engine/dassl"}.get(folder, folder)
        here = {
            f"{inside}/{path.relative_to(REPO / folder).as_posix()}" for path in (REPO / folder).rglob(f"*.{ending}")
        }
        assert here
        assert here <= set(names)
    data = [
        path
        for path in (REPO / "simnl").rglob("*")
        if path.suffix in (".safetensors", ".csv", ".j2", ".html", ".css", ".js")
    ]
    assert {path.relative_to(REPO).as_posix() for path in data} <= set(names)
    assert {name.split("/")[0] for name in names} == {"simnl", "trainers", f"simnl-{__version__}.dist-info"}
    about = zipfile.ZipFile(wheel).read(f"simnl-{__version__}.dist-info/METADATA").decode()
    required = set(re.findall(r"^Requires-Dist: ([^;\n]+)$", about, re.M))
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert required == {line for line in lines if line and not line.startswith(("-", "#"))}


def test_the_readmes_example_from_another_folder(wheel, tmp_path):
    installed, work = tmp_path / "installed", tmp_path / "work"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", installed]
    assert run(*pip, wheel, cwd=tmp_path, PATH="/usr/bin:/bin").returncode == 0
    pictures = make_pictures(work)
    (work / "train").rename(work / "pictures")
    Path(pictures["test"][0][0]).rename(work / "new.png")
    script = USE + EXAMPLE + COMMANDS
    env = {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    done = run(sys.executable, "-c", script, cwd=work, **env, OMP_NUM_THREADS="1", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("['dotted star'] [[")
    places = re.search(r"^PLACES\|(.*)\|(.*)\|(.*)$", done.stdout, re.M).groups()
    assert [str(Path(place).relative_to(installed)) for place in places] == [
        "simnl/__init__.py", "simnl/_engine/dassl/__init__.py", "trainers/__init__.py",
    ]  # fmt: skip
    assert re.findall(r"^EXIT (\d)", done.stdout, re.M) == ["0", "0", "0", "1"]
    assert f"simnl {__version__}\n" in done.stdout
    assert "head.safetensors: SimNL on 6 pictures of 3 classes." in done.stdout
    assert "dotted star" in done.stdout.split("3 classes.")[1]
    assert "Error: Unknown command 'nothing'. Choose from fit, predict, export, push, demo" in done.stderr
    assert "Traceback" not in done.stderr
