"""The documents: links resolve, commands exist, and 'Add a method' works as written."""

from __future__ import annotations

import re
import shutil

import pytest

from helpers.e2e_tools import REPO, records

DOCUMENTS = sorted(
    p
    for p in [*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("toolbox/*.md"), *REPO.glob("simnl/clip/*/*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPO)))
def test_links_resolve(document):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPO)))
def test_files_named_in_commands_exist(document):
    example = {"scripts/nearest_mean/main.sh", "trainers/nearest_mean.py", "configs/trainers/NearestMean.yaml"}
    for target in set(
        re.findall(
            r"\b((?:scripts|tools|configs|trainers|fewshot|vlm|experiment)/[\w/]+\.(?:sh|py|yaml))",
            document.read_text(),
        )
    ):
        assert target in example or (REPO / target).exists(), f"{document.name} names {target}"


def test_the_methods_of_the_readme_are_the_scripts():
    text = (REPO / "README.md").read_text()
    section = text[text.index("## Methods") : text.index("Where is a formula")]
    listed = re.findall(r"`([a-z_]+)`", section)
    assert sorted(listed) == sorted(p.parent.name for p in REPO.glob("scripts/*/main.sh"))


def test_add_a_method_as_written(shell, tmp_path):
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "output", "data", "tests")
    shutil.copytree(REPO, copy, ignore=ignored)
    text = (REPO / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Add a method") :]
    python, yaml = re.findall(r"```(?:python|yaml)\n(.*?)```", section, re.S)[:2]
    (copy / "trainers" / "nearest_mean.py").write_text(python)
    (copy / "configs" / "trainers" / "NearestMean.yaml").write_text(yaml)
    script = (copy / "scripts" / "simnl" / "main.sh").read_text().replace("SimNL simnl", "NearestMean nearest_mean")
    (copy / "scripts" / "nearest_mean").mkdir()
    (copy / "scripts" / "nearest_mean" / "main.sh").write_text(script)
    done = shell(f"cd {copy} && bash scripts/nearest_mean/main.sh shapes 16", SEEDS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["method"], record["trainable_parameters"]) == ("NearestMean", 0)
    assert "Nearest mean" in done.stdout.split("accuracy (95 % CI)")[1]
