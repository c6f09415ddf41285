"""A file is read once: for its digest, its decoded image and its views; or not at all."""

from __future__ import annotations

import builtins
import io
import os
import shutil
from pathlib import Path

import pytest
import torch

from helpers.images import make_images
from helpers.stores import plain, store_at
from simnl.clip.views import ViewSpec
from simnl.data.digests import FileDigests
from simnl.data.images import UnreadableImage

CROPS = (0, 1)


def crops(clip) -> ViewSpec:
    return ViewSpec.random(clip.preprocess, (0.5, 1.0))


@pytest.fixture
def opened(monkeypatch):
    """The image files that this process opens, in order."""
    files, plainly = [], builtins.open

    def noted(file, *arguments, **options):
        if str(file).endswith(".png"):
            files.append(str(file))
        return plainly(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", noted)
    monkeypatch.setattr(io, "open", noted)
    return files


def test_a_new_file_is_opened_once_and_a_known_one_never(tmp_path, vit, image_files, opened):
    asked = [*image_files, image_files[0]]
    first = store_at(tmp_path, vit).images(asked, crops(vit), CROPS)
    assert opened == image_files
    opened.clear()
    assert torch.equal(store_at(tmp_path, vit).images(asked, crops(vit), CROPS), first)
    assert opened == []
    store_at(tmp_path, vit).warm(asked, plain(vit))  # digests are known, features are not
    assert opened == image_files
    assert FileDigests(tmp_path).known(asked) == FileDigests(tmp_path / "other").of(asked)


def test_a_moved_or_copied_file_is_read_but_neither_decoded_nor_encoded(tmp_path, vit, image_files, monkeypatch):
    first = store_at(tmp_path, vit).images(image_files, crops(vit), CROPS)
    copies = [shutil.copy(path, tmp_path / Path(path).name) for path in image_files]
    monkeypatch.setattr("simnl.clip.pending.decode_image", lambda *_: pytest.fail("is decoded again"))
    store = store_at(tmp_path, vit)
    assert torch.equal(store.images(copies, crops(vit), CROPS), first)
    assert store.encoded_images == 0


def test_new_files_of_equal_content_are_encoded_once(tmp_path, vit, image_files):
    first, *others = image_files[:3]
    copies = [shutil.copy(first, tmp_path / f"copy{number}.png") for number in range(3)]
    store = store_at(tmp_path / "store", vit)
    store.warm([first], crops(vit), [0])
    rows = store.images([copies[0], *others, *copies[1:], first], crops(vit), CROPS)
    assert store.encoded_images == 1 + 1 + 2 * len(others)
    for place in (3, 4, 5):
        assert torch.equal(rows[:, place], rows[:, 0])
    lone = store_at(tmp_path / "lone", vit).images([*others, first], crops(vit), CROPS)
    assert torch.equal(rows[:, [1, 2, 0]], lone)


def test_an_interruption_keeps_whole_batches_and_nothing_else(tmp_path, vit, monkeypatch):
    files = make_images(tmp_path / "images", 2 * vit.batch_rows + 3)
    encode, calls = type(vit).encode_image, []

    def interrupted(self, pixels):
        calls.append(pixels)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(type(vit), "encode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store_at(tmp_path / "store", vit).warm(files, plain(vit))
    assert not [name for name in os.listdir(tmp_path / "store" / "features") if "journal" in name]
    again = store_at(tmp_path / "store", vit)
    rows = again.images(files, plain(vit))
    assert again.encoded_images == vit.batch_rows + 3
    assert torch.equal(rows, store_at(tmp_path / "fresh", vit).images(files, plain(vit)))


def test_a_file_that_changed_behind_its_size_and_time_gets_no_features_under_the_old_digest(tmp_path, vit, image_files):
    """The remembered digest is wrong then; it is mended, and the next run encodes what the file holds now."""
    path, other = tmp_path / "one.png", Path(image_files[1]).read_bytes()
    size = 8 + max(len(other), os.path.getsize(image_files[0]))
    path.write_bytes(Path(image_files[0]).read_bytes().ljust(size, b"\0"))  # bytes behind the image are not read
    before = os.stat(path)
    first = store_at(tmp_path, vit).images([str(path)], plain(vit))
    path.write_bytes(other.ljust(size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UnreadableImage, match=r"one\.png has another content than when it was last read"):
        store_at(tmp_path, vit).images([str(path)], crops(vit), CROPS)
    found = store_at(tmp_path, vit).images([str(path)], plain(vit))
    assert torch.equal(found, store_at(tmp_path, vit).images([image_files[1]], plain(vit)))
    assert not torch.equal(found, first)
