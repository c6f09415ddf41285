"""NaN and infinite numbers out of a model end a run, by name, before anything is stored or made of them."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simnl.clip.database import FeatureDatabase
from simnl.clip.finite import NotFinite, check_logits
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec

PROMPTS = ["a cat.", "a dog."]


@pytest.fixture
def changed(clip_checkpoints, tmp_path):
    """A checkpoint of the small vision transformer with some numbers changed."""

    def change(name: str, value: float, everywhere: bool = False) -> str:
        state = load_file(clip_checkpoints["test-vit"])
        tensor = state[name].reshape(-1)
        tensor[slice(None) if everywhere else 0] = value
        save_file(state, tmp_path / "changed.safetensors")
        return str(tmp_path / "changed.safetensors")

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("ln_final.weight", "of the text encoder"),
        ("token_embedding.weight", "of the text encoder"),
        ("visual.conv1.weight", "of the image encoder"),
        ("logit_scale", "of the logit scale or bias"),
    ],
)
def test_weights_that_are_not_finite_are_refused(changed, name, where, value):
    path = changed(name, value)
    with pytest.raises(NotFinite) as caught:
        load_clip("test-vit", path)
    for part in (path, "test-vit", name, where, "Fetch it again"):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [1000.0, -1000.0])
def test_a_logit_scale_whose_exponential_is_no_number_is_refused(changed, value):
    with pytest.raises(NotFinite, match=f"logit_scale is {value:g}.*exponential"):
        load_clip("test-vit", changed("logit_scale", value))


def test_finite_weights_whose_sum_overflows_are_taken(changed):
    load_clip("test-vit", changed("ln_final.weight", 3e38, everywhere=True))


def test_several_bad_tensors_are_counted(changed):
    path = changed("visual.proj", float("nan"))
    state = load_file(path)
    state["logit_scale"].fill_(float("nan"))
    save_file(state, path)
    with pytest.raises(NotFinite, match="logit_scale, of the logit scale or bias, and 1 more tensors hold"):
        load_clip("test-vit", path)


def rows_of(root: Path) -> int:
    total = 0
    for file in (root / "features").glob("*.sqlite"):
        with sqlite3.connect(file) as connection:
            total += connection.execute("SELECT count(*) FROM features").fetchone()[0]
    return total


def test_overflow_in_half_precision_is_told_before_anything_is_stored(changed, tmp_path, image_files):
    path = changed("visual.proj", 1e6, everywhere=True)
    full, half = load_clip("test-vit", path), load_clip("test-vit", path, "fp16")
    spec = ViewSpec.test(full.preprocess)
    FeatureStore(tmp_path / "full", full, progress=False).images(image_files, spec)
    store = FeatureStore(tmp_path / "half", half, progress=False)
    for read in (store.images, store.warm, lambda *args: list(store.stream(*args))):
        with pytest.raises(NotFinite) as caught:
            read(image_files, spec)
    for part in ("image encoder of test-vit", path, "12 of 12", image_files[0], "bf16 (MODEL.BACKBONE.PRECISION)"):
        assert part in str(caught.value)
    assert store.encoded_images == rows_of(tmp_path / "half") == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_single_row_is_enough(vit, tmp_path, image_files, monkeypatch, bad):
    encode = {name: getattr(FrozenCLIP, name) for name in ("encode_image", "encode_text")}

    def spoilt(name):
        def run(self, inputs):
            rows = encode[name](self, inputs)
            rows[1, 3] = bad
            return rows

        return run

    for name in encode:
        monkeypatch.setattr(FrozenCLIP, name, spoilt(name))
    store = FeatureStore(tmp_path / "store", vit, progress=False)
    with pytest.raises(NotFinite, match=r"image encoder .* 1 of 12 inputs, the first of them .*001\.png"):
        store.images(image_files, ViewSpec.test(vit.preprocess))
    with pytest.raises(NotFinite, match=r"text encoder of test-vit .* 1 of 2 inputs, the first of them 'a dog\.'"):
        store.texts(PROMPTS)
    assert rows_of(tmp_path / "store") == 0


def test_what_pads_a_batch_is_not_looked_at(vit, tmp_path, image_files, monkeypatch):
    encode = FrozenCLIP.encode_image

    def spoilt(self, pixels):
        rows = encode(self, pixels)
        rows[len(image_files) :] = torch.nan
        return rows

    monkeypatch.setattr(FrozenCLIP, "encode_image", spoilt)
    store = FeatureStore(tmp_path / "store", vit, progress=False)
    assert store.images(image_files, ViewSpec.test(vit.preprocess)).isfinite().all()


def test_rows_that_another_program_stored_are_encoded_again(vit, tmp_path, image_files, caplog, monkeypatch):
    spec = ViewSpec.test(vit.preprocess)
    features = FeatureStore(tmp_path / "store", vit, progress=False).images(image_files, spec)
    (file,) = (tmp_path / "store" / "features").glob("*.sqlite")
    with sqlite3.connect(file) as connection:
        (item,) = connection.execute("SELECT item FROM features WHERE rowid = 3").fetchone()
        (content,) = connection.execute("SELECT value FROM meta WHERE name = 'content'").fetchone()
    monkeypatch.setattr("json.dumps", lambda *args, **kwargs: content)
    database = FeatureDatabase(file, vit.embed_dim, {})
    database.write([(item, 0, np.full(vit.embed_dim, np.nan, np.float32))])  # with a check sum that is right
    database.close()
    monkeypatch.undo()
    again = FeatureStore(tmp_path / "store", vit, progress=False)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(again.images(image_files, spec), features)
    assert again.encoded_images == 1
    assert "1 rows of" in caplog.text


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_not_counted(bad):
    logits = torch.zeros(5, 3)
    check_logits(logits, "SimNL")
    logits[1, 2] = logits[3, 0] = bad
    with pytest.raises(NotFinite, match=r"SimNL gives NaN or infinite logits for 2 of 5 images.*TRAINER\.SIMNL"):
        check_logits(logits, "SimNL")
