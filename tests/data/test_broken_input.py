"""Kinds of broken input that stand nowhere else: what is said, and that nothing wrong is used in silence."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import simnl.data.listing
from simnl.data.listing import describe, find_missing, list_folders, list_images

ODD = os.fsdecode(b"caf\xe9.jpg")  # Latin-1 on a file system of UTF-8 names


@pytest.fixture
def odd_names(tmp_path):
    """Skips where the disk refuses names that are not UTF-8."""
    try:
        (tmp_path / ODD).touch()
    except (OSError, ValueError):
        pytest.skip("this disk takes no name that is not UTF-8")


# ------------------------------------------------------------------------------------------- names
@pytest.mark.usefixtures("odd_names")
def test_file_name_that_is_not_utf8(build, load):
    for name, folder in (("ImageFolder", "train/x1"), ("ImageNet", "train/n01440764"), ("ImageNetA", "n01443537")):
        built = build(name)
        image = next((built.images / folder).iterdir())
        shutil.copy(image, image.with_name(ODD))
        with pytest.raises(
            ValueError, match=rf"{folder} holds the name 'caf\\udce9.jpg', which is not UTF-8. Rename it"
        ):
            load(name)


@pytest.mark.usefixtures("odd_names")
def test_class_folder_that_is_not_utf8(build, load):
    built = build("ImageFolder")
    (built.images / "train" / "x1").rename(built.images / "train" / ODD)
    with pytest.raises(ValueError, match="train holds the name .*, which is not UTF-8. Rename it"):
        load("ImageFolder")


def test_wrong_endings_are_told(root, build, load, caplog):
    """A split that names `.jpeg` where the disk has `.jpg`; own images whose endings are those of no image."""
    built = build("DescribableTextures")
    path = built.parts["val"][0][0]
    (built.images / path).rename((built.images / path).with_suffix(".jpeg"))
    with pytest.raises(FileNotFoundError, match=rf"1 of \d+ images that .* lists are missing .*{path}"):
        load("DescribableTextures", NUM_SHOTS=16)
    mine = build("ImageFolder")
    folder = mine.images / "train" / "x1"
    shutil.copy(next(folder.iterdir()), folder / "photo.heic")
    load("ImageFolder")
    assert "train/x1: files without the ending of an image are left out: photo.heic" in caplog.text
    for image in list_images(folder):
        (folder / image).rename(folder / f"{image}.txt")
    with pytest.raises(FileNotFoundError, match=r"there is no image in a class folder .*0.png.txt"):
        load("ImageFolder")


# ------------------------------------------------------------------------------------------- links
def test_links_that_lead_to_themselves(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "a.jpg").touch()
    assert list_folders(tmp_path) == []
    assert list_images(tmp_path) == ["a.jpg"]
    assert find_missing(tmp_path, ["a.jpg", "loop.jpg"]) == ["loop.jpg"]
    assert "loop.jpg" in describe(tmp_path)


def test_folder_that_links_back(build, load, root):
    """SUN397's folders are nested: a link to a folder above must not list its images again."""
    built = build("SUN397")
    (built.folder / "split_zhou_SUN397.json").unlink()
    before = load("SUN397", NEW_SPLIT=True, NUM_SHOTS=-1)
    (built.images / "a" / "back").symlink_to(built.images, target_is_directory=True)
    after = load("SUN397", NEW_SPLIT=True, NUM_SHOTS=-1)
    assert (after.classnames, after.split_hash) == (before.classnames, before.split_hash)


# ------------------------------------------------------------------------------------------ counts
def test_fewer_images_than_shots_are_told(build, load, caplog):
    build("Food101")
    assert len(load("Food101", NUM_SHOTS=6).train_x) == 18
    assert "fewer than" not in caplog.text
    assert len(load("Food101", NUM_SHOTS=16).train_x) == 18
    assert (
        "these classes have fewer than 16 training images, all of which are used: apple_pie (6), baklava (6), tacos (6)"
        in caplog.text
    )


def test_class_without_test_image_is_told(build, load, caplog):
    built = build("ImageFolder")
    shutil.rmtree(built.images / "test" / "x1")
    assert load("ImageFolder").num_classes == 2
    assert "these classes have no test image: steam engine" in caplog.text


# ------------------------------------------------------------------------------------- permissions
@pytest.mark.parametrize("place", ["train", "train/x1"])
def test_folder_that_may_not_be_read(place, build, load, monkeypatch):
    """Permission bits do not bind root, under which tests may run, so the refusal is played."""
    built = build("ImageFolder")
    scan = os.scandir

    def refuse(folder):
        if os.path.abspath(folder) == str(built.images / place):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(simnl.data.listing.os, "scandir", refuse)
    with pytest.raises(PermissionError, match=f"Permission denied: .*{place}"):
        load("ImageFolder")


# -------------------------------------------------------------------------------------------- disk
@pytest.fixture
def full_disk(monkeypatch):
    """The disk is full in the middle of each file that the program writes."""
    write = Path.write_text

    def refuse(self, text, **options):
        if not self.name.endswith(".tmp"):
            return write(self, text, **options)
        write(self, text[:10], **options)
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", refuse)


def test_full_disk_and_the_draw(full_disk, build, load, store, caplog):
    """A draw needs no file: the run goes on, and the next one draws the same."""
    build("Food101")
    first = load("Food101")
    assert "could not be stored" in caplog.text
    assert [d.impath for d in load("Food101").train_x] == [d.impath for d in first.train_x]
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_full_disk_and_the_new_split(full_disk, build, load, root, store):
    """A split that cannot be kept is not used: another run would see another one."""
    built = build("Food101")
    (built.folder / "split_zhou_Food101.json").unlink()
    with pytest.raises(OSError, match="No space left"):
        load("Food101", NEW_SPLIT=True)
    mine = root / "mine"
    shutil.copytree(built.images, mine)
    with pytest.raises(PermissionError, match=r"split cannot be written to .*mine/split.json .*No space left"):
        load("ImageFolder")
    assert not [path for path in [*store.rglob("*"), *mine.iterdir()] if path.is_file()]


# ------------------------------------------------------------------------------------------- leaks
def test_split_whose_parts_share_an_image_is_refused(build, load):
    built = build("Caltech101")
    parts = {part: list(items) for part, items in built.parts.items()}
    parts["test"][0] = parts["train"][0]
    (built.folder / "split_zhou_Caltech101.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=r"test\[0\] and train\[0\] are the same image"):
        load("Caltech101")
