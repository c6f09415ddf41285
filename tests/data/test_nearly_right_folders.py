"""One's own images in nearly the right layout: what is wrong and what to do is said, or it is read as meant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image


def test_one_folder_deeper(flat, load, root):
    (root / "above").mkdir()
    flat.rename(root / "above" / "mine")
    with pytest.raises(FileNotFoundError, match=rf"set DATASET.FOLDER to {root}/above/mine$"):
        load("ImageFolder", FOLDER="above")
    assert load("ImageFolder", FOLDER="above/mine").num_classes == 3


@pytest.mark.parametrize(("part", "name"), [("train", "Train"), ("val", "validation"), ("test", "Testing")])
def test_parts_of_another_name(build, load, part, name):
    built = build("ImageFolder")
    (built.images / part).rename(built.images / name)
    with pytest.raises(FileNotFoundError, match=f"called train, val and test. Rename {name}"):
        load("ImageFolder")


def test_training_folder_alone(build, load):
    built = build("ImageFolder")
    for part in ("val", "test"):
        shutil.rmtree(built.images / part)
    with pytest.raises(
        FileNotFoundError, match=r"no test folder .* Add it, or move the class folders up into .*mine, where"
    ):
        load("ImageFolder")


def test_folders_that_packers_leave_are_no_classes(flat, load):
    (flat / "__MACOSX" / "cat").mkdir(parents=True)
    (flat / "__MACOSX" / "cat" / "._0.PNG").write_bytes(b"junk")
    assert load("ImageFolder").classnames == ["cat", "steam engine", "train"]


def test_folders_in_a_class_folder(flat, load, caplog):
    (flat / "cat" / "more").mkdir()
    shutil.copy(flat / "cat" / "0.PNG", flat / "cat" / "more" / "0.PNG")
    load("ImageFolder")
    assert f"{flat}/cat: folders in a class folder are left out: more" in caplog.text
    for path in flat.glob("cat/*.PNG"):
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"mine/cat holds more/, notes.txt\)\. Put a class's images into its folder"
    ):
        load("ImageFolder")


def test_images_of_another_format(flat, load):
    for path in flat.glob("cat/*.PNG"):
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(FileNotFoundError, match=r"0.heic.* Images end in .jpg, .*\. Convert others\."):
        load("ImageFolder")


def test_images_outside_class_folders_are_told(flat, load, caplog):
    shutil.copy(flat / "cat" / "0.PNG", flat / "loose.jpg")
    load("ImageFolder")
    assert "images outside of class folders are left out: loose.jpg" in caplog.text


def test_own_split_of_a_folder_without_class_folders(load, root, tmp_path, caplog):
    """All images in one folder, and a list of them."""
    (root / "mine").mkdir(parents=True)
    own = {
        part: [[f"{part}{label}.png", label, f"class {label}"] for label in (0, 1)] for part in ("train", "val", "test")
    }
    for shade, (path, _, _) in enumerate(item for items in own.values() for item in items):
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(root / "mine" / path)
    (root / "mine" / "split.json").write_text(json.dumps(own))
    data = load("ImageFolder", NUM_SHOTS=-1)
    for part, datums in (("train", data.train_x), ("val", data.full_val), ("test", data.test)):
        assert [(Path(datum.impath).name, datum.label) for datum in datums] == [
            (item[0], item[1]) for item in own[part]
        ]
    assert "left out" not in caplog.text
    with pytest.raises(FileNotFoundError, match="no class folder in"):
        load("ImageFolder", SPLIT_FILE=str(tmp_path / "absent.json"))


def test_names_and_paths_in_any_script(flat, load, root):
    (flat / "cat").rename(flat / "Kätzchen 猫")
    (root / "mine").rename(root / "meine Bilder (ß)")
    data = load("ImageFolder", FOLDER="meine Bilder (ß)")
    assert data.classnames == ["Kätzchen 猫", "steam engine", "train"]
    assert (root / "meine Bilder (ß)" / "split.json").is_file()


def test_folder_behind_a_link(flat, load, root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    expected = load("ImageFolder")
    data = load("ImageFolder", ROOT=tmp_path / "link")
    assert data.split_hash == expected.split_hash
    assert all(Path(datum.impath).is_file() for datum in data.test)
