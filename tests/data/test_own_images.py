"""`ImageFolder`: one's own images, without code."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import simnl.data.own_images


def parts(data) -> list[list[tuple[str, int]]]:
    return [
        [(d.impath.rpartition("/mine/")[2], d.label) for d in part or ()]
        for part in (data.train_x, data.full_val, data.test)
    ]


def test_folder_is_split_once(flat, load):
    first = load("ImageFolder", NUM_SHOTS=-1)
    assert first.classnames == ["cat", "steam engine", "train"]
    counts = [Counter(label for _, label in part) for part in parts(first)]
    assert [list(count.values()) for count in counts] == [[5, 6, 6], [2, 2, 2], [3, 3, 4]]
    assert first.split_origin == "generated"
    assert (flat / "split.json").is_file()
    second = load("ImageFolder", NUM_SHOTS=-1, SEED=3)
    assert (parts(second), second.split_hash) == (parts(first), first.split_hash)
    assert len({path for part in parts(first) for path, _ in part}) == 33


def test_stored_split_stays_and_says_so(flat, load, caplog):
    (flat / "cat" / "notes.txt").unlink()
    first = load("ImageFolder", NUM_SHOTS=-1)
    assert not caplog.records
    shutil.copy(flat / "cat" / "0.PNG", flat / "cat" / "new.PNG")
    second = load("ImageFolder", NUM_SHOTS=-1, TEST_FRACTION=0.5)
    assert parts(second) == parts(first)
    assert "1 images are not in" in caplog.text
    assert "cat/new.PNG" in caplog.text
    assert "was made with test_fraction 0.3, so 0.5 is not used" in caplog.text
    gone = Path(first.test[0].impath)
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 10 images that .*split.json lists .* cat/{gone.name}"):
        load("ImageFolder")


def test_name_of_a_file_that_cannot_be_stored(flat, load):
    (flat / "cat" / "0.PNG").rename(flat / "cat" / "a\nb.PNG")
    with pytest.raises(ValueError, match="has characters that no file name should have. Rename it"):
        load("ImageFolder")


def test_absolute_folder_needs_no_root(flat, load):
    data = load("ImageFolder", ROOT="", FOLDER=str(flat))
    assert data.root == flat
    assert [sum(d.label == label for d in data.train_x) for label in range(3)] == [2, 2, 2]


def test_fractions(flat, load):
    data = load("ImageFolder", NUM_SHOTS=-1, VAL_FRACTION=0.0, TEST_FRACTION=0.5)
    assert data.full_val is None
    assert [len(part) for part in parts(data)] == [17, 0, 16]
    assert load("ImageFolder", NUM_SHOTS=2).val is not None  # from the training images that were not drawn


def test_own_split_file(flat, load, tmp_path):
    own = {
        part: [[f"{name}/{number}.PNG", label, name] for label, name in enumerate(("cat", "train"))]
        for number, part in enumerate(("train", "val", "test"))
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own))
    data = load("ImageFolder", SPLIT_FILE=str(path))
    assert data.split_origin == "standard"
    assert parts(data) == [[(path, label) for path, label, _ in own[part]] for part in ("train", "val", "test")]
    assert not (flat / "split.json").exists()


def test_new_split_is_written_where_split_file_says(flat, load, tmp_path):
    load("ImageFolder", SPLIT_FILE=str(tmp_path / "elsewhere.json"))
    assert (tmp_path / "elsewhere.json").is_file()
    assert not (flat / "split.json").exists()


def test_read_only_folder(flat, load, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(simnl.data.own_images, "write_split", refuse)
    with pytest.raises(PermissionError, match=r"read-only, set DATASET.SPLIT_FILE"):
        load("ImageFolder")


def test_damaged_split(flat, load):
    (flat / "split.json").write_text('{"train": [')
    with pytest.raises(ValueError, match=r"mine/split.json is not valid json"):
        load("ImageFolder")


def test_classnames(flat, load, tmp_path):
    hash_before = load("ImageFolder").split_hash
    (flat / "classnames.txt").write_text("steam engine,  locomotive of old\n\ncat\tdomestic cat\ntrain  choo, choo\n")
    data = load("ImageFolder")
    assert data.classnames == ["domestic cat", "locomotive of old", "choo, choo"]
    assert {d.classname for d in data.test if d.label == 0} == {"domestic cat"}
    assert data.split_hash != hash_before
    other = tmp_path / "other.txt"
    other.write_text("\ufeffcat, A\nsteam engine, B\ntrain, C\n", encoding="utf-8")
    assert load("ImageFolder", CLASSNAMES_FILE=str(other)).classnames == ["A", "B", "C"]


BROKEN_NAMES = {
    "no such class": ("dog, pup\n", "line 1: expected `class, name`.* one of 'cat', 'steam engine', 'train'; found"),
    "longer class": ("cats, pup\n", "line 1: expected"),
    "class twice": ("cat, a\ncat, b\n", "line 2: 'cat' has a name already"),
    "name twice": ("cat, a\n\ntrain, a\n", "line 3: 'train' and 'cat' are both called 'a'"),
    "no name": ("cat, a\ntrain\n", "line 2: 'train' has no name"),
    "blank name": ("cat, \n", "line 1: 'cat' has no name"),
    "too few": ("cat, a\n", "names 1 of 3 classes. Add a line for steam engine, train"),
    "empty": ("\n", "names 0 of 3 classes"),
    "control character": ("cat, a\x07b\n", "line 1: the name .* cannot be printed"),
}


@pytest.mark.parametrize("case", BROKEN_NAMES)
def test_broken_classnames(case, flat, load):
    text, message = BROKEN_NAMES[case]
    (flat / "classnames.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load("ImageFolder")
    assert str(flat / "classnames.txt") in str(error.value)


def test_classnames_missing_or_not_utf8(flat, load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"names.txt \(DATASET.CLASSNAMES_FILE\)"):
        load("ImageFolder", CLASSNAMES_FILE=str(tmp_path / "names.txt"))
    (tmp_path / "names.txt").write_bytes("cat, Katze\nsteam engine, Süß\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"names.txt is not UTF-8"):
        load("ImageFolder", CLASSNAMES_FILE=str(tmp_path / "names.txt"))


def test_classnames_of_other_data_sets(build, load, tmp_path):
    """Any data set takes a names file: by its own class names, ImageNet's by WordNet id."""
    build("DescribableTextures")
    names = load("DescribableTextures").classnames
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}, very {name}\n" for name in reversed(names)))
    assert load("DescribableTextures", CLASSNAMES_FILE=str(path)).classnames == [f"very {name}" for name in names]
    build("ImageNet")
    path.write_text("n01440764 A\nn01443537 B\nn03773504 C\nn04008634 D\n")
    assert load("ImageNet", CLASSNAMES_FILE=str(path)).classnames == ["A", "B", "C", "D"]
    path.write_text("tench, A\n")
    with pytest.raises(ValueError, match="does not name the class folder"):
        load("ImageNet", CLASSNAMES_FILE=str(path))


def test_classnames_of_a_split_with_a_doubled_name(flat, load, tmp_path):
    own = {
        part: [[f"{folder}/{n}.PNG", label, "same"] for label, folder in enumerate(("cat", "train"))]
        for n, part in enumerate(("train", "val", "test"))
    }
    (tmp_path / "own.json").write_text(json.dumps(own))
    (flat / "classnames.txt").write_text("same, a\n")
    with pytest.raises(ValueError, match="same stands for more than one class"):
        load("ImageFolder", SPLIT_FILE=str(tmp_path / "own.json"))


def test_longest_folder_name_counts(flat, load):
    shutil.copytree(flat / "cat", flat / "steam")
    (flat / "classnames.txt").write_text("steam engine loco\nsteam vapour\ncat cat\ntrain, train\n")
    assert load("ImageFolder").classnames == ["cat", "vapour", "loco", "train"]


def test_empty_class(flat, load):
    (flat / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match="no image in a class folder .*mine/dog holds nothing"):
        load("ImageFolder")


def test_too_few_images(flat, load):
    for path in list((flat / "cat").glob("*.PNG"))[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"class 'cat' has only 1 image\(s\), so none is left for train"):
        load("ImageFolder")


def test_no_folder(load, root):
    root.mkdir()
    with pytest.raises(ValueError, match=r"needs DATASET.FOLDER"):
        load("ImageFolder", FOLDER="")
    with pytest.raises(FileNotFoundError, match="there is no folder .*/absent"):
        load("ImageFolder", FOLDER="absent")
    (root / "mine").mkdir()
    with pytest.raises(FileNotFoundError, match="no class folder"):
        load("ImageFolder")


# ------------------------------------------------------------------------------------ three folders
def test_three_folders_without_validation(build, load):
    built = build("ImageFolder")
    shutil.rmtree(built.images / "val")
    data = load("ImageFolder", NUM_SHOTS=2)
    assert data.full_val is None
    assert len(data.val) == 4
    assert {Path(d.impath).parents[1].name for d in data.val} == {"train"}


def test_three_folders_need_training_and_test(build, load):
    built = build("ImageFolder")
    shutil.rmtree(built.images / "test")
    with pytest.raises(FileNotFoundError, match="no test folder"):
        load("ImageFolder")


def test_three_folders_with_a_class_too_many(build, load):
    built = build("ImageFolder")
    shutil.copytree(built.images / "test" / "x1", built.images / "test" / "x2")
    with pytest.raises(ValueError, match="test: train/ has no folder for x2"):
        load("ImageFolder")
