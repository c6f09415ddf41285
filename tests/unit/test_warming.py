"""Warming: what runs will read, shared among processes, gives the same store."""

from __future__ import annotations

import numpy as np
import torch

from experiment.executor import execute
from experiment.matrix import Plan, Setup, Variant, build_configs
from experiment.warming import needs_of, share, union, warm
from vlm.clip import FrozenCLIP
from vlm.store import FeatureStore
from vlm.views import ViewSpec

SPEC = ViewSpec(32, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest", (0.5, 1.0))


def test_every_view_falls_to_one_process():
    needs = {SPEC: {f"{i}.png": {0, 1} if i % 3 else {4} for i in range(11)}}
    parts = [share(needs, rank, 3) for rank in range(3)]
    seen = [(path, view) for part in parts for _, views, paths in part for path in paths for view in views]
    wanted = [(path, view) for path, views in needs[SPEC].items() for view in views]
    assert sorted(seen) == sorted(wanted)
    assert union([needs, {SPEC: {"0.png": {9}}}])[SPEC]["0.png"] == {4, 9}


def test_two_processes_fill_the_store_as_one_does(vit, image_files, tmp_path):
    stores = {}
    for world in (1, 2):
        for rank in range(world):
            stores[world] = FeatureStore(tmp_path / str(world), vit, exclusive=False, progress=False)
            for spec, views, paths in share({SPEC: {path: {0, 1, 2} for path in image_files}}, rank, world):
                stores[world].warm(paths, spec, views)
                assert stores[world].encoded_images == len(image_files) * 3 // world
    alone, shared = (stores[world].images(image_files, SPEC, (0, 1, 2)) for world in (1, 2))
    torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-6)
    assert stores[2].encoded_images == len(image_files) * 3 // 2  # nothing was left to encode


def test_a_warmed_run_encodes_nothing(tmp_path, monkeypatch):
    """The authors' way, with two draws and new views; of the model only the number of encoded views matters."""
    variant = Variant("", ("PRESET", "official", "OPTIM.MAX_EPOCH", "2"))
    setup = Setup(output=str(tmp_path / "output"), cache=str(tmp_path / "cache"))
    (cfg,) = build_configs(setup, Plan("SimNL", "shapes", 1, variant), [1])
    specs = needs_of(cfg)
    assert len(specs) == 2  # the test transform and the random one
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, pixels: torch.ones(len(pixels), self.embed_dim))
    wanted = sum(len(views) for images in specs.values() for views in images.values())
    assert warm([cfg]) == wanted
    record = execute(cfg)
    assert record["encoded_images"] == 0
    assert np.isfinite(record["accuracy"])
