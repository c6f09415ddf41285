"""What runs of one process share: within a number of bytes, equal to what was read, and nothing that has changed."""

from __future__ import annotations

import json
import os

import torch

from helpers.images import make_images
from helpers.stores import plain, store_at
from simnl import sharing
from simnl.clip import store as store_module
from simnl.clip.model import load_clip
from simnl.data.splits import read_split


def test_what_was_not_used_for_the_longest_time_goes_first():
    kept = sharing.LimitedCache(100)
    for name in "abc":
        kept.put(name, name.upper(), 30)
    assert kept.get("a") == "A"
    kept.put("d", "D", 40)
    assert [kept.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert kept.nbytes == 100
    kept.put("d", "E", 10)
    kept.put("large", "L", 51)  # more than half: it would drive out all others
    assert (kept.get("d"), kept.get("large"), kept.nbytes) == ("E", None, 70)


def test_runs_alone_share_nothing():
    assert sharing.current() is None
    with sharing.shared(1):
        assert sharing.current().fits(2**19)
        assert not sharing.current().fits(2**19 + 1)
    assert sharing.current() is None


def test_rows_are_read_once_and_are_those_of_the_files_as_they_are(tmp_path, monkeypatch):
    clip = load_clip("tiny-vit", "bundled")
    paths, view = make_images(tmp_path / "images", 5), plain(clip)
    alone = store_at(tmp_path, clip).images(paths, view)
    monkeypatch.setattr(store_module, "READ_ROWS", 2)  # several chunks
    with sharing.shared():
        assert torch.equal(store_at(tmp_path, clip).images(paths, view), alone)
        opened = []
        real = store_module.FeatureDatabase
        monkeypatch.setattr(
            store_module, "FeatureDatabase", lambda *rest, **more: opened.append(1) or real(*rest, **more)
        )
        for chunk in store_at(tmp_path, clip).stream(paths, view):
            chunk.zero_()  # a reader may do with its rows what it likes
        store_at(tmp_path, clip).warm(paths, view)
        assert torch.equal(store_at(tmp_path, clip).images(paths, view), alone)
        assert not opened
        assert torch.equal(store_at(tmp_path, clip).images(paths[::-1], view), alone.flip(1))  # another list
        (other,) = make_images(tmp_path / "other", 1, seed=9)
        os.replace(other, paths[0])
        changed = store_at(tmp_path, clip).images(paths, view)
    assert len(opened) == 2
    assert not torch.equal(changed[0, 0], alone[0, 0])
    assert torch.equal(changed[0, 1:], alone[0, 1:])


def test_texts_are_read_once(tmp_path, monkeypatch):
    clip = load_clip("tiny-vit", "bundled")
    prompts = ["a circle", "a square", "a circle"]
    alone = store_at(tmp_path, clip).texts(prompts)
    with sharing.shared():
        store_at(tmp_path, clip).texts(prompts).zero_()
        monkeypatch.setattr(store_module, "FeatureDatabase", None)
        assert torch.equal(store_at(tmp_path, clip).texts(prompts), alone)


def test_a_split_that_changed_is_read_again(tmp_path):
    path = tmp_path / "split.json"
    parts = {"train": [["a.jpg", 0, "cat"]], "val": [["b.jpg", 0, "cat"]], "test": [["c.jpg", 0, "cat"]]}
    path.write_text(json.dumps(parts))
    with sharing.shared():
        first = read_split(path)
        assert read_split(path) is first
        path.write_text(json.dumps({**parts, "test": [["other.jpg", 0, "cat"]]}))
        assert read_split(path).test[0].path == "other.jpg"
    assert read_split(path) is not read_split(path)
