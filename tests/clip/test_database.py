"""The file of features: many keys per question give what one question per key would, from the index alone."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch

from helpers.stores import plain, store_at
from simnl.clip.database import FeatureDatabase
from simnl.clip.finite import NotFinite
from simnl.clip.model import FrozenCLIP


@pytest.mark.parametrize("most", [1, 3, 500])
def test_rows_are_found_whatever_the_order_the_repeats_and_the_size_of_a_question(tmp_path, monkeypatch, most):
    monkeypatch.setattr("simnl.clip.database.MOST_ASKED", most)
    rng = np.random.default_rng(0)
    items = [rng.bytes(32) for _ in range(9)]
    rows = {key: rng.standard_normal(4, dtype=np.float32) for key in itertools.product(items[:7], range(4))}
    del rows[items[2], 3], rows[items[4], 1]
    database = FeatureDatabase(tmp_path / "x.sqlite", 4, {})
    database.write((item, view, row) for (item, view), row in rows.items())
    asked, views = [items[i] for i in (8, 4, 0, 4, 2, 6)], (3, 1)
    lacking = {i: tuple(view for view in views if (item, view) not in rows) for i, item in enumerate(asked)}
    absent = {i: numbers for i, numbers in lacking.items() if numbers}
    assert database.missing(asked, views) == absent
    features, bad = database.read(asked, views)
    assert bad == absent
    for slot, position in itertools.product(range(2), range(6)):
        wanted = rows.get((asked[position], views[slot]), np.zeros(4))
        assert np.array_equal(features[slot, position], wanted)


def test_what_is_missing_is_told_by_the_index_alone(tmp_path):
    """No row is read for it, however wide rows are."""
    database = FeatureDatabase(tmp_path / "x.sqlite", 4, {})
    asked: list[str] = []
    database._connection.set_trace_callback(asked.append)
    database.missing([b"1" * 32, b"2" * 32], (0,))
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as other:
        (plan,) = [row[-1] for question in asked for row in other.execute(f"EXPLAIN QUERY PLAN {question}")]
    assert "USING COVERING INDEX" in plan


def test_features_in_half_precision_have_entries_of_their_own(tmp_path, vit, image_files):
    full, half = store_at(tmp_path, vit), store_at(tmp_path, vit, half=True)
    features = full.images(image_files, plain(vit))
    rounded = half.images(image_files, plain(vit))
    assert half.encoded_images == len(image_files)  # those of the other precision are none of them
    assert torch.equal(rounded, features.half().float())
    assert not torch.equal(rounded, features)
    assert len(list((tmp_path / "features").glob("image-*.sqlite"))) == 2
    assert torch.equal(store_at(tmp_path, vit).images(image_files, plain(vit)), features)
    full.texts(["a cat"])
    half.texts(["a cat"])
    assert len(list((tmp_path / "features").glob("text-*.sqlite"))) == 1  # texts are as ever


def test_what_half_precision_cannot_hold_is_told(tmp_path, vit, image_files, monkeypatch):
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, pixels: 1e6 * encode(self, pixels))
    with pytest.raises(NotFinite, match=r"which they are stored in\. Choose fp32 \(MODEL\.BACKBONE\.STORED\)"):
        store_at(tmp_path, vit, half=True).images(image_files, plain(vit))
    assert store_at(tmp_path, vit).images(image_files, plain(vit)).isfinite().all()


def test_a_file_that_another_process_has_replaced_is_not_replaced_again(tmp_path):
    path, row = tmp_path / "x.sqlite", np.arange(4, dtype=np.float32)
    first, second = FeatureDatabase(path, 4, {}), FeatureDatabase(path, 4, {})
    with open(path, "r+b") as file:
        file.write(b"no database" * 100)
    first.write([(b"a" * 32, 0, row)])  # sees the damage, and begins a new file
    features, absent = second.read([b"a" * 32], (0,))
    assert not absent
    assert np.array_equal(features[0, 0], row)
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
