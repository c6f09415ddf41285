"""Images of equal content under two names in two parts."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import pytest

from simnl.data.duplicates import find_shared, in_words, remembered_digests


def by_table(table: dict[str, str]):
    """Digests of made-up contents."""
    return lambda paths: [hashlib.sha256(table[path].encode()).digest() for path in paths]


def test_pairs_of_all_parts():
    contents = {"a": "1", "b": "2", "c": "1", "d": "3", "e": "2", "f": "1", "g": "3", "h": "9"}
    parts = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g", "h"]}
    assert find_shared(parts, by_table(contents)) == {
        ("train", "test"): [("f", "a")],
        ("val", "test"): [("g", "d")],
        ("train", "val"): [("e", "b")],
    }


def test_within_a_part_and_without_content_is_nothing():
    contents = {"a": "1", "b": "1", "c": "", "d": "", "e": "2"}
    assert find_shared({"train": ["a", "b", "c"], "test": ["d", "e"]}, by_table(contents)) == {}
    assert find_shared({"test": ["a", "b"]}, by_table(contents)) == {}
    assert in_words({}, Path("/r")) == ""


def test_words_count_and_name_the_first():
    pairs = [(f"/r/t/{number}.jpg", f"/r/x/{number}.jpg") for number in range(8)]
    text = in_words({("train", "test"): pairs, ("val", "test"): pairs[:1]}, Path("/r"))
    assert text.startswith("8 test images are equal in content to training images: t/0.jpg = x/0.jpg, t/1.jpg = ")
    assert "(8 in all); 1 test image is equal in content to validation images: t/0.jpg = x/0.jpg" in text


def test_digests_are_remembered_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("simnl.data.digests.CHUNK", 2)
    paths = [str(tmp_path / f"{number}.jpg") for number in range(5)]
    for path in paths:
        Path(path).write_text(path)
    expected = [hashlib.sha256(path.encode()).digest() for path in paths]
    assert remembered_digests(tmp_path / "cache", "mine")(paths) == expected
    with monkeypatch.context() as patch:
        patch.setattr("simnl.data.digests.read_with_version", lambda path: pytest.fail(f"{path} is read again"))
        assert remembered_digests(tmp_path / "cache", "mine")(paths) == expected


@pytest.fixture
def leaking(build):
    """One's own images in three folders; a test image of each class is a training or validation image, too."""
    built = build("ImageFolder")
    for number, path in enumerate(sorted(built.images.rglob("*.png"))):
        path.write_bytes(path.read_bytes() + str(number).encode())  # all differ
    shutil.copy(built.images / "train/x1/0.png", built.images / "test/x1/again.png")
    shutil.copy(built.images / "val/x1/3.png", built.images / "test/big cat/other name.png")
    return built


def test_own_images_warn_and_go_on(leaking, load, caplog):
    caplog.set_level(logging.WARNING, "datasets")
    data = load("ImageFolder", NUM_SHOTS=-1)
    (warning,) = (record.getMessage() for record in caplog.records)
    assert f"{leaking.images}: 1 test image is equal in content to training images: " in warning
    assert "test/x1/again.png = train/x1/0.png" in warning
    assert (
        "1 test image is equal in content to validation images: test/big cat/other name.png = val/x1/3.png" in warning
    )
    assert "Remove one of each pair" in warning
    assert len(data.test) == 6  # nothing is taken out


def test_only_images_in_use_are_compared(leaking, load, caplog):
    """Of few shots the images that were drawn: others are not read, and cannot leak."""
    drawn = {Path(datum.impath).name for datum in load("ImageFolder", NUM_SHOTS=1).train_x if datum.label == 1}
    assert ("equal in content to training images" in caplog.text) == ("0.png" in drawn)


def test_split_made_here_is_named(build, load, root, caplog):
    built = build("ImageFolder")
    for part in ("val", "test"):
        shutil.rmtree(built.images / part)
    for folder in ("big cat", "x1"):
        (built.images / "train" / folder).rename(built.images / folder)  # 6 equal images each
    (built.images / "train").rmdir()
    assert load("ImageFolder").shared
    assert "Remove one of each pair, and also split.json if this program made it" in caplog.text
