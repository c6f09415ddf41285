"""The page on one's own images, followed to the letter; and what it says of mistakes."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from helpers.e2e_tools import REPO, records

PAGE = (REPO / "docs" / "your_own_data.md").read_text(encoding="utf-8")
COPIED = shutil.ignore_patterns(".*", "__pycache__", "output", "data", "tests", "benchmarks", "*.egg-info")


@pytest.fixture(scope="module")
def followed(shell_in, tmp_path_factory):
    """A copy of the program in which all commands of the page were carried out, in their order; and their output."""
    copy = tmp_path_factory.mktemp("page") / "copy"
    shutil.copytree(REPO, copy, ignore=COPIED)
    outputs = []
    for command in re.findall(r"```bash\n(.*?)```", PAGE, re.S):
        done = shell_in(copy, command.replace(".venv/bin/python", "$PYTHON"), SEEDS="1", OUTPUT="output")
        assert done.returncode == 0, command + done.stdout + done.stderr
        outputs.append(done.stdout + done.stderr)
    return copy, outputs


def test_the_page_as_written(followed):
    copy, outputs = followed
    found = records(copy / "output")
    plain = [r for r in found if not r["label_noise"] and r["num_classes"] == 3]
    simnl = {tuple(r["prompts"]): r for r in plain if r["method"] == "SimNL"}
    assert set(simnl) == {("negative", "template"), ("cupl", "negative", "template")}
    (zero,) = {
        r["config_hash"]: r
        for r in plain
        if r["method"] == "ZeroshotCLIP" and not r["options"].get("PROMPTS.POSITIVE_FILE")
    }.values()
    assert zero["accuracy"] > 60  # chance is 33: names and templates have reached the model
    assert all(r["split_origin"] == "generated" for r in plain)
    assert all((r["num_train"], r["num_test"]) == (12, 27) for r in plain if r["method"] == "SimNL")
    (two,) = (r for r in found if r["num_classes"] == 2)
    assert (two["split_origin"], two["num_test"]) == ("standard", 20)
    noisy = {r["method"]: r for r in found if r["label_noise"]}
    assert set(noisy) == {"SimNL", "TipAdapter"}
    assert sorted(p.name for p in (copy / "data" / "mine").iterdir() if p.is_file()) == [
        "classnames.txt", "cupl.json", "negative_templates.txt", "split.json", "templates.txt",
    ]  # fmt: skip
    assert any("ZeroshotCLIP" in text and "SimNL" in text for text in outputs)
    log = next((copy / "output").rglob("log.txt")).read_text()
    assert "a drawing of a {}." in log


def test_noisy_labels_are_stored_once_for_both_methods(followed, cache):
    copy, _ = followed
    (noisy,) = cache.glob("draws/ImageFolder/*/*-noise_0.3-*.json")
    content = json.loads(noisy.read_text())
    assert len(content["noisy_labels"]) == 12
    assert content["noise"]["p"] == 0.3


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("classnames.txt", "k01, star\nk02, heart\n", "names 2 of 3 classes. Add a line for k03"),
        ("templates.txt", "a photo of a thing.\n", "has no {}"),
    ],
)
def test_mistakes_are_told(followed, shell_in, file, text, words):
    copy, _ = followed
    path = copy / "data" / "mine" / file
    kept = path.read_text()
    path.write_text(text)
    command = "bash scripts/simnl/main.sh imagefolder 4 DATASET.FOLDER mine"
    failed = shell_in(copy, command, SEEDS="1", OUTPUT="output", DATA="data", BACKBONE="tiny")
    path.write_text(kept)
    assert failed.returncode == 1
    assert words in failed.stderr
    assert str(path.relative_to(copy)) in failed.stderr
    assert "Traceback" not in failed.stderr


def test_new_names_make_a_new_run(followed, shell_in):
    copy, _ = followed
    command = "bash scripts/zeroshot/main.sh imagefolder 4 DATASET.FOLDER mine"
    options = {"SEEDS": "1", "OUTPUT": "output", "DATA": "data", "BACKBONE": "tiny"}
    path = copy / "data" / "mine" / "classnames.txt"
    kept = path.read_text()
    path.write_text(kept.replace("dotted star", "star"))
    (copy / "data" / "mine" / "cupl.json").unlink(missing_ok=True)
    changed = shell_in(copy, command, **options)
    path.write_text(kept)
    assert changed.returncode == 0, changed.stderr
    assert "done before" not in changed.stdout
