"""The feature store: exact sharing, crash safety, damage, flat memory. Equal bits: test_same_bits.py."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import sqlite3
import time
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.images import make_images
from helpers.stores import plain, store_at
from simnl.clip.model import FrozenCLIP
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.data.images import UnreadableImage, read_image


def random_views(clip) -> ViewSpec:
    return ViewSpec.random(clip.preprocess, (0.5, 1.0))


def feature_file(root: Path, kind: str = "image") -> Path:
    (file,) = (root / "features").glob(f"{kind}-*.sqlite")
    return file


def test_equals_direct_encoding(tmp_path, random_clip, image_files):
    transform = plain(random_clip).build()
    pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in image_files])
    direct = random_clip.model.encode_image(pixels).detach()
    stored = store_at(tmp_path, random_clip).images(image_files, plain(random_clip))
    torch.testing.assert_close(stored[0], direct, atol=1e-5, rtol=1e-4)


def test_nothing_is_encoded_twice(tmp_path, vit, image_files):
    store = store_at(tmp_path, vit)
    first = store.images(image_files[:6], random_views(vit), range(3))
    assert store.encoded_images == 18
    again = store_at(tmp_path, vit)
    mixed = again.images(image_files, random_views(vit), range(4))  # overlaps in images and in views
    assert again.encoded_images == 12 * 4 - 18
    assert torch.equal(mixed[:3, :6], first)
    assert torch.equal(store_at(tmp_path, vit).images(image_files, random_views(vit), [3, 1])[0], mixed[3])


def test_another_transform_or_model_is_never_answered_with_these_features(tmp_path, vit, clip_checkpoints, image_files):
    from simnl.clip.model import load_clip

    other = load_clip("test-resnet", str(clip_checkpoints["test-resnet"]))
    store = store_at(tmp_path, vit)
    plain_features = store.images(image_files, plain(vit))
    random_features = store.images(image_files, random_views(vit))
    assert not torch.allclose(plain_features, random_features)
    other_store = store_at(tmp_path, other)
    assert not torch.allclose(other_store.images(image_files, plain(other)), plain_features)
    assert other_store.encoded_images == len(image_files)


def test_views_do_not_depend_on_the_global_generators(tmp_path, vit, image_files):
    first = store_at(tmp_path / "a", vit).images(image_files, random_views(vit), [2])
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = store_at(tmp_path / "b", vit).images(image_files[::-1], random_views(vit), [2])
    assert torch.equal(second.flip(1), first)
    assert torch.equal(torch.get_rng_state(), state)  # and leave them alone


def test_identity_is_the_content_not_the_path(tmp_path, vit, image_files):
    store = store_at(tmp_path / "store", vit)
    features = store.images(image_files, plain(vit))
    moved = tmp_path / "moved"
    moved.mkdir()
    new = [str(moved / Path(p).name) for p in image_files]
    for old_path, new_path in zip(image_files, new, strict=True):
        os.rename(old_path, new_path)
    again = store_at(tmp_path / "store", vit)
    assert torch.equal(again.images(new, plain(vit)), features)
    assert again.encoded_images == 0
    Image.new("RGB", (40, 40), "red").save(new[0])  # same path, other content
    changed = again.images(new, plain(vit))
    assert again.encoded_images == 1
    assert not torch.equal(changed[0, 0], features[0, 0])


def test_equal_images_are_encoded_once(tmp_path, vit, image_files):
    store = store_at(tmp_path / "store", vit)
    features = store.images([image_files[0]] * 3, plain(vit))
    assert store.encoded_images == 1
    assert torch.equal(features[0, 0], features[0, 2])


def test_damaged_rows_are_rebuilt_with_a_warning(tmp_path, vit, image_files, caplog):
    store = store_at(tmp_path / "store", vit)
    features = store.images(image_files, plain(vit))
    with sqlite3.connect(feature_file(tmp_path / "store")) as connection:
        connection.execute("UPDATE features SET data = zeroblob(length(data)) WHERE rowid IN (2, 5)")
        connection.execute("UPDATE features SET data = substr(data, 1, 8) WHERE rowid = 7")
    again = store_at(tmp_path / "store", vit)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(again.images(image_files, plain(vit)), features)
    assert again.encoded_images == 3
    assert "3 rows" in caplog.text


@pytest.mark.parametrize("damage", ["garbage", "truncated", "half zero", "other content"])
def test_a_damaged_file_is_rebuilt_with_a_warning(tmp_path, vit, caplog, damage):
    images = make_images(tmp_path / "many", 200)
    store = store_at(tmp_path / "store", vit)
    features = store.images(images, plain(vit))
    file = feature_file(tmp_path / "store")
    content = file.read_bytes()
    if damage == "garbage":
        file.write_bytes(b"not a database" * 1000)
    elif damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "half zero":
        file.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE meta SET value = '{}' WHERE name = 'content'")
    again = store_at(tmp_path / "store", vit)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(again.images(images, plain(vit)), features)
    assert "damaged" in caplog.text
    assert 0 < again.encoded_images <= len(images)


def test_a_damaged_file_table_is_rebuilt(tmp_path, vit, image_files):
    store = store_at(tmp_path / "store", vit)
    features = store.images(image_files, plain(vit))
    (tmp_path / "store" / "files.sqlite").write_bytes(b"garbage" * 500)
    again = store_at(tmp_path / "store", vit)
    assert torch.equal(again.images(image_files, plain(vit)), features)
    assert again.encoded_images == 0


def test_texts_are_stored_too(tmp_path, vit, monkeypatch):
    prompts = ["a photo of a cat.", "a photo of a dog.", "a photo of a cat."]
    features = store_at(tmp_path, vit).texts(prompts)
    assert features.shape == (3, 16)
    assert torch.equal(features[0], features[2])
    direct = vit.encode_text(vit.tokenize(prompts[:2]))
    torch.testing.assert_close(features[:2], direct, atol=1e-6, rtol=0)
    calls = []
    monkeypatch.setattr(type(vit), "encode_text", lambda self, tokens: calls.append(tokens))
    assert torch.equal(store_at(tmp_path, vit).texts(prompts[::-1]), features[[2, 1, 0]])
    assert not calls


def test_a_long_prompt_is_cut_not_refused(tmp_path, vit):
    assert torch.isfinite(store_at(tmp_path, vit).texts(["word " * 200])).all()


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff not a picture")
    with pytest.raises(OSError, match=r"broken\.jpg"):
        read_image(str(path))


@pytest.mark.parametrize("workers", [0, 1])
def test_it_is_named_by_a_sentence_from_a_worker_process_too(tmp_path, vit, image_files, workers, monkeypatch):
    monkeypatch.setattr("simnl.clip.store.WORKERS_PAY_FROM", 1)
    Path(image_files[3]).write_bytes(b"no picture")
    with pytest.raises(UnreadableImage) as caught:
        store_at(tmp_path / "store", vit, num_workers=workers).images(image_files, plain(vit))
    assert str(caught.value).startswith(f"Cannot decode the image {image_files[3]}: ")
    assert str(caught.value).endswith("Replace the file and run the command again.")


def test_a_full_disk_is_reported_and_keeps_what_was_stored(tmp_path, vit, monkeypatch):
    image_files = make_images(tmp_path / "images", 2 * vit.batch_rows + 3)
    store = store_at(tmp_path / "store", vit)
    from simnl.clip.database import FeatureDatabase

    insert, calls = FeatureDatabase._insert, []

    def full(self, records):
        calls.append(records)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        insert(self, records)

    monkeypatch.setattr(FeatureDatabase, "_insert", full)
    with pytest.raises(OSError, match="full.*CACHE"):
        store.images(image_files, plain(vit))
    monkeypatch.undo()
    again = store_at(tmp_path / "store", vit)
    again.images(image_files, plain(vit))
    assert again.encoded_images == vit.batch_rows + 3


def test_a_file_that_another_process_does_not_let_go_of_is_told(tmp_path, vit, image_files, monkeypatch):
    store_at(tmp_path / "store", vit).images(image_files[:1], plain(vit))
    monkeypatch.setattr("simnl.clip.database.BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(feature_file(tmp_path / "store"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match="locked.*Another process.*run the command again"):
            store_at(tmp_path / "store", vit).images(image_files, plain(vit))


def encode_slowly(root: Path, clip: FrozenCLIP, images: list[str], told: Connection) -> None:
    """In another process: tell of each batch, and at the end how many images were encoded, and the features' sum."""
    encode = FrozenCLIP.encode_image

    def slow(self, pixels):
        told.send("a batch")
        time.sleep(0.3)
        return encode(self, pixels)

    FrozenCLIP.encode_image = slow
    store = store_at(root, clip)
    told.send((float(store.images(images, plain(clip)).double().sum()), store.encoded_images))


def start(*given: object) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=encode_slowly, args=(*given, there))
    process.start()
    there.close()
    return process, here


def test_two_processes_that_ask_at_once_encode_once(tmp_path, vit, image_files):
    results = []
    for process, told in [start(tmp_path / "store", vit, image_files) for _ in range(2)]:
        while (one := told.recv()) == "a batch":
            pass
        results.append(one)
        process.join()
    assert sorted(encoded for _, encoded in results) == [0, 12]
    assert results[0][0] == results[1][0]


def test_a_killed_process_leaves_nothing_that_is_later_used(tmp_path, vit):
    image_files = make_images(tmp_path / "images", 4 * vit.batch_rows)
    process, told = start(tmp_path / "store", vit, image_files)
    assert [told.recv(), told.recv()] == ["a batch"] * 2
    process.kill()
    process.join()
    store = store_at(tmp_path / "store", vit)
    features = store.images(image_files, plain(vit))
    assert 0 < store.encoded_images <= len(image_files)
    fresh = store_at(tmp_path / "fresh", vit).images(image_files, plain(vit))
    assert torch.equal(features, fresh)


def test_streaming_holds_one_chunk_whatever_the_number_of_images(tmp_path, vit, monkeypatch):
    monkeypatch.setattr("simnl.clip.store.READ_ROWS", 16)
    sizes = []
    for count in (20, 100):
        images = make_images(tmp_path / str(count), count)
        chunks = [c.shape[1] for c in store_at(tmp_path / "store", vit).stream(images, plain(vit))]
        assert sum(chunks) == count
        sizes.append(max(chunks))
    assert sizes == [16, 16]


def test_pixels_held_while_encoding_do_not_grow(tmp_path, vit, monkeypatch):
    """Peak Python memory of encoding 4 times as many images stays the same (tensors are counted by their batches)."""
    batches = []
    encode = type(vit).encode_image
    monkeypatch.setattr(type(vit), "encode_image", lambda self, x: (batches.append(len(x)), encode(self, x))[1])
    for count in (30, 120):
        store_at(tmp_path / f"store{count}", vit).images(make_images(tmp_path / str(count), count), plain(vit))
    assert set(batches) == {vit.batch_rows}


def test_progress_bars_on_long_passes(tmp_path, vit, image_files, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    FeatureStore(tmp_path, vit, progress=True).images(image_files, plain(vit))
    FeatureStore(tmp_path, vit, progress=True).texts(["a cat", "a dog"])
    err = terminal.getvalue()
    assert "Encoding images" in err
    assert "Encoding prompts" in err
