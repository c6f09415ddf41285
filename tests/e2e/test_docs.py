"""The documents: links resolve, commands exist, and 'Add a method' works as written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from helpers.e2e_tools import REPO, records
from helpers.pictures import make_pictures

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "toolbox/*.md", "simnl/clip/*/*.md") for path in REPO.glob(pattern)
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPO)))
def test_links_resolve(document):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPO)))
def test_files_named_in_commands_exist(document):
    example = {"trainers/nearest_mean.py", "configs/trainers/NearestMean.yaml"}
    text = re.sub(r"\[[^]]*\]\(https?://[^)]*\)", "", document.read_text())  # files of other repositories
    for target in set(
        re.findall(
            r"(?<![\w/.])((?:benchmarks|configs|datasets|scripts|simnl|tests|toolbox|tools|trainers)/[\w/]+\.(?:sh|py|yaml))",
            text,
        )
    ):
        assert target in example or (REPO / target).exists(), f"{document.name} names {target}"


def test_the_python_of_the_classifiers_page(tmp_path, monkeypatch, cache):
    """Block after block in one namespace, in a folder with `pictures/` and `new.png`."""
    pictures = make_pictures(tmp_path, train=4)
    (tmp_path / "train").rename(tmp_path / "pictures")
    Path(pictures["test"][0][0]).rename(tmp_path / "new.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    names: dict = {}
    text = (REPO / "docs" / "classifier.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)
    assert names["again"].predict(["new.png"]).tolist() == ["dotted star"]
    assert names["classifier"].score(names["x"], names["y"]) > 0.9


def test_the_methods_of_the_readme_are_the_scripts():
    text = (REPO / "README.md").read_text()
    section = text[text.index("## Methods") : text.index("Where is a formula")]
    listed = re.findall(r"`([a-z_]+)`", section)
    assert sorted(listed) == sorted(p.parent.name for p in REPO.glob("scripts/*/main.sh"))


@pytest.fixture
def with_a_method(tmp_path):
    """A copy of the repository with the method of CONTRIBUTING added as it says: one file and one yaml."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", ".*_cache")
    made = {"output", "data"}  # at the top alone: packages have folders of these names too
    shutil.copytree(REPO, copy, ignore=lambda at, names: ignored(at, names) | (made if at == str(REPO) else set()))
    text = (REPO / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Add a method") :]
    python, yaml = re.findall(r"```(?:python|yaml)\n(.*?)```", section, re.S)[:2]
    (copy / "trainers" / "nearest_mean.py").write_text(python)
    (copy / "configs" / "trainers" / "NearestMean.yaml").write_text(yaml)
    return copy


def test_add_a_method_as_written(shell, tmp_path, with_a_method):
    done = shell(f"cd {with_a_method} && bash scripts/run.sh NearestMean shapes 1", SEEDS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["method"], record["trainable_parameters"]) == ("NearestMean", 0)
    assert "Nearest mean" in done.stdout.split("accuracy (95 % CI)")[1]


def test_an_added_method_passes_the_linter_and_the_tests_of_methods(shell, with_a_method):
    linted = shell(f"cd {with_a_method} && $PYTHON -m ruff check .")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    tests = "tests/trainers/test_contract.py tests/trainers/test_methods_doc.py tests/runs/test_names.py"
    tested = shell(f"cd {with_a_method} && $PYTHON -m pytest -q -n 0 -k 'NearestMean or every or row' {tests}")
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr
