"""Broken images, splits and folders, met by the scripts: a message with the file, exit code 1, no record."""

from __future__ import annotations

import json

import pytest

from helpers.e2e_tools import records
from helpers.images import make_images

COMMAND = "bash scripts/simnl/main.sh imagefolder {shots} DATASET.FOLDER {folder} OPTIM.MAX_EPOCH 1 {options}"


@pytest.fixture
def mine(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        make_images(tmp_path / "mine" / name, 10, size=30 + number)
    return tmp_path / "mine"


@pytest.fixture
def run(shell, mine):
    def start(shots=2, **options):
        text = " ".join(f"{key} {value}" for key, value in options.items())
        return shell(COMMAND.format(shots=shots, folder=mine, options=text), SEEDS="1", BACKBONE="tiny")

    return start


def own_split(mine, more: str) -> str:
    """A split of the images, with one test image more; its path."""
    numbers = {"train": range(4), "val": range(4, 7), "test": range(7, 10)}
    split = {
        part: [[f"{name}/{n:03d}.png", label, name] for label, name in enumerate(("cat", "dog")) for n in images]
        for part, images in numbers.items()
    }
    split["test"].append([more, 0, "cat"])
    path = mine.parent / "own.json"
    path.write_text(json.dumps(split))
    return str(path)


def test_truncated_image(run, mine, tmp_path):
    """And once it is mended, the same command goes through; what is short is told."""
    for image in (mine / "cat").iterdir():  # whichever the split and the draw take
        image.write_bytes(image.read_bytes()[:200])
    failed = run()
    assert failed.returncode == 1
    assert f"Cannot decode the image {mine / 'cat'}" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not records(tmp_path / "output")
    make_images(mine / "cat", 10, size=35)
    done = run(shots=16)
    assert done.returncode == 0, done.stderr
    assert (
        "Note: ImageFolder: these classes have fewer than 16 training images, all of which are used: cat (5), dog (5)"
        in done.stderr
    )


def test_split_that_names_a_missing_file(run, mine, tmp_path):
    """Other broken splits: tests/data/test_splits.py."""
    path = own_split(mine, "cat/gone.png")
    failed = run(**{"DATASET.SPLIT_FILE": path})
    assert failed.returncode == 1
    assert "1 of 7 images that" in failed.stderr
    assert "cat/gone.png" in failed.stderr
    assert path in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not records(tmp_path / "output")
    assert not (mine / "split.json").exists()
