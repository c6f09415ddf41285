"""Classes whose names prompts spell alike: refused, both named, before anything is written."""

from __future__ import annotations

import json
import shutil
import unicodedata

import pytest

from simnl.data.classnames import find_alike


def twice(flat, first: str, second: str) -> None:
    (flat / "cat").rename(flat / first)
    shutil.copytree(flat / first, flat / second)


PAIRS = [
    ("red_car", "red car"),
    ("red__car", "red car"),
    ("red car ", "red car"),
    ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_folders_of_one_class_are_refused_by_name(flat, load, pair):
    twice(flat, *pair)
    with pytest.raises(ValueError, match="prompts spell names .* alike.*classnames.txt") as caught:
        load("ImageFolder")
    assert all(repr(name) in str(caught.value) for name in pair)
    assert not (flat / "split.json").exists()


def test_names_of_their_own_mend_it(flat, load):
    twice(flat, "red_car", "red car")
    names = {"red_car": "old red car", "red car": "new red car", "steam engine": "engine", "train": "train"}
    (flat / "classnames.txt").write_text("".join(f"{folder}, {name}\n" for folder, name in names.items()))
    assert load("ImageFolder").num_classes == 4
    (flat / "classnames.txt").write_text(
        "".join(f"{folder}, {name}\n" for folder, name in names.items()).replace("new red car", "old_red  car")
    )
    with pytest.raises(
        ValueError, match="'red_car' and 'red car' are both called|'red car' and 'red_car' are both called"
    ):
        load("ImageFolder")


def test_three_folders(build, load):
    built = build("ImageFolder")
    for part in built.images.iterdir():
        if part.is_dir():
            (part / "x1").rename(part / "x 1")
            shutil.copytree(part / "x 1", part / "x_1")
    (built.images / "classnames.txt").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="'x 1' = 'x_1'"):
        load("ImageFolder")


def test_json_splits(flat, load):
    split = {
        part: [[f"cat/{number}.PNG", 0, "cat"], [f"train/{number}.PNG", 1, "cat"]]
        for number, part in enumerate(("train", "val", "test"))
    }
    (flat.parent / "two.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match="'cat' = 'cat'"):
        load("ImageFolder", SPLIT_FILE=str(flat.parent / "two.json"))


def test_names_that_differ_are_left_alone():
    assert find_alike(["a", "A", "a b", "ab", "a-b"]) == []
