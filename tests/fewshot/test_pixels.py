"""Training from pixels: the loader, and CLIP-LoRA end to end on a ViT of random weights."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import tiny_vit
from helpers.e2e_tools import REPO, records
from helpers.images import make_images
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.fewshot.checkpoint import load_head
from simnl.fewshot.inputs import PixelInputs
from simnl.fewshot.loaders import PixelLoader, SupportLoader
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.run import run_one
from trainers.clip_lora import CLIPLoRA

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40), "white": (240, 240, 240)}


# ------------------------------------------------------------------ the loader


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path / "store", tiny_vit.load(), progress=False)


@pytest.fixture
def items(tmp_path) -> list:
    files = make_images(tmp_path / "images", 10)
    return [SimpleNamespace(impath=path, label=number // 2) for number, path in enumerate(files)]


def random_views() -> ViewSpec:
    return ViewSpec.random(tiny_vit.load().preprocess, (0.3, 1.0))


def loader(store, items, workers=0, steps=0, **options) -> PixelLoader:
    made = PixelLoader(store, items, random_views(), 4, workers, seed=1, **{"num_views": 3, **options})
    made.steps = steps
    return made


def epoch_of(loader: PixelLoader, epoch: int) -> list[dict]:
    loader.epoch = epoch
    batches = list(loader)
    assert len(batches) == len(loader)
    return batches


def same(ours: list[dict], theirs: list[dict]) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return all(torch.equal(a[key], b[key]) for a, b in pairs for key in ("img", "label", "index"))


def test_pixels_are_the_views_and_the_order_of_the_store(store, items):
    """A frozen tower on the pixels gives what the feature path gives."""
    features = store.images([item.impath for item in items], random_views(), (2, 3, 4))
    labels = torch.tensor([item.label for item in items])
    by_features = SupportLoader(features, labels, 4, seed=1, drop_last=False)
    by_pixels = loader(store, items, first_view=2)
    for epoch in range(4):
        by_features.epoch = epoch
        for ours, theirs in zip(epoch_of(by_pixels, epoch), by_features, strict=True):
            torch.testing.assert_close(tiny_vit.load().encode_image(ours["img"]), theirs["img"], atol=1e-5, rtol=1e-4)
            assert torch.equal(ours["index"], theirs["index"])
            assert torch.equal(ours["label"], theirs["label"])


def test_workers_change_nothing(store, items):
    for epoch in (0, 3):
        assert same(
            epoch_of(loader(store, items, 0, steps=4), epoch), epoch_of(loader(store, items, 2, steps=4), epoch)
        )


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_an_epoch_may_be_a_number_of_steps(store, items, steps):
    """How endless passes are cut into epochs changes nothing."""
    passes = loader(store, items)
    whole = itertools.chain.from_iterable(epoch_of(passes, turn) for turn in itertools.count())
    cut = loader(store, items, steps=steps)
    for epoch in range(3):
        assert same(epoch_of(cut, epoch), list(itertools.islice(whole, steps)))


def test_a_pass_ends_with_a_short_batch_unless_it_is_dropped(store, items):
    assert [len(b["label"]) for b in epoch_of(loader(store, items), 0)] == [4, 4, 2]
    assert [len(b["label"]) for b in epoch_of(loader(store, items, drop_last=True), 0)] == [4, 4]
    assert [len(b["label"]) for b in epoch_of(loader(store, items[:3], drop_last=True), 0)] == [3]


def test_views_repeat_or_are_new_in_every_pass(store, items):
    def images(made, turn):
        batches = epoch_of(made, turn)
        order = torch.cat([b["index"] for b in batches]).argsort()
        return torch.cat([b["img"] for b in batches])[order]

    assert torch.equal(images(loader(store, items), 0), images(loader(store, items), 3))
    assert not torch.equal(images(loader(store, items, num_views=0), 0), images(loader(store, items, num_views=0), 3))


def test_the_global_generator_is_left_alone(store, items):
    before = torch.get_rng_state()
    epoch_of(loader(store, items), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_test_images_come_in_order_under_the_test_transform(store, items):
    spec = ViewSpec.test(tiny_vit.load().preprocess)
    batches = list(PixelLoader(store, items, spec, 4, 0))
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(10))
    features = tiny_vit.load().encode_image(torch.cat([b["img"] for b in batches]))
    torch.testing.assert_close(features, store.images([i.impath for i in items], spec)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("option", [("VIEWS.KIND", "centre+flip"), ("VIEWS.ORDER", "pool")])
def test_views_that_pixels_do_not_have_are_refused(store, option):
    cfg = config(Path("unused"), Path("unused"), *option)
    with pytest.raises(ValueError, match=option[1].replace("+", r"\+")):
        PixelInputs(cfg, store, tiny_vit.load().preprocess, torch.device("cpu")).train_loader(None)


# ------------------------------------------------------------------ end to end


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[Path, Path]:
    """Model config and checkpoint of the ViT."""
    return tiny_vit.write(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of four classes of plain colours under noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(12):
            picture = np.clip(rng.normal(colour, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number:02d}.png")
    return folder


def config(pictures: Path, output: Path, *options: str, weights: Path | str = "bundled", arch: str = tiny_vit.ARCH):
    settings = {
        "TRAINER.NAME": "CLIPLoRA",
        "MODEL.BACKBONE.ARCH": arch,
        "MODEL.BACKBONE.WEIGHTS": str(weights),
        "DATASET.FOLDER": str(pictures),
        "DATASET.NUM_SHOTS": 2,
        "OUTPUT_DIR": str(output / "run"),
        "STORE.ROOT": str(output / "store"),
        "SEED": 1,
        "VERBOSE": False,
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.TRAIN_X.BATCH_SIZE": 6,
        "TRAINER.CLIPLORA.STEPS_PER_SHOT": 3,
        "OPTIM.MAX_EPOCH": 3,
        "OPTIM.LR": 0.02,
    }
    files = [CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / "CLIPLoRA.yaml"]
    return assemble(files, options, settings)


def train(cfg) -> tuple[dict, dict[str, torch.Tensor]]:
    return run_one(cfg), load_head(Path(cfg.OUTPUT_DIR) / "head.safetensors")[0]


def equal(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_trains_the_changes_and_nothing_else(pictures, tmp_path, weights):
    cfg = config(pictures, tmp_path, "OPTIM.MAX_EPOCH", "20", weights=weights[1])
    trainer = CLIPLoRA(cfg)
    before = tiny_vit.copy_of(trainer.clip)
    losses = []
    step = trainer.forward_backward
    trainer.forward_backward = lambda batch: losses.append(step(batch)) or losses[-1]
    trainer.train()
    assert len(losses) == 20 * 3 * 2
    first, last = (sum(terms["loss"] for terms in part) for part in (losses[:20], losses[-20:]))
    assert last < 0.7 * first
    assert trainer.accuracy["test"] > 50  # of four classes; at random weights
    assert trainer.num_parameters == tiny_vit.PARAMETERS
    assert trainer.store.encoded_images == 0
    after = trainer.clip.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert trainer.get_current_lr() == pytest.approx(1e-6)


def test_the_same_seed_gives_the_same_with_any_number_of_workers(pictures, tmp_path, weights):
    results = [
        train(config(pictures, tmp_path / n, "DATALOADER.NUM_WORKERS", n, weights=weights[1])) for n in ("0", "2")
    ]
    assert equal(results[0][1], results[1][1])
    assert results[0][0]["accuracy"] == results[1][0]["accuracy"]
    other = train(config(pictures, tmp_path / "other", "SEED", "2", weights=weights[1]))
    assert not equal(other[1], results[0][1])


@pytest.mark.parametrize("epoch", ["last", "best"])
def test_a_killed_run_goes_on_as_an_undisturbed_one(pictures, tmp_path, weights, monkeypatch, epoch):
    options = ("SELECTION.EPOCH", epoch)
    wanted = train(config(pictures, tmp_path / "undisturbed", *options, weights=weights[1]))
    cfg, step, steps = (
        config(pictures, tmp_path / "killed", *options, weights=weights[1]),
        CLIPLoRA.forward_backward,
        [],
    )

    def dies(self, batch):
        steps.append(1)
        if len(steps) == 9:  # in the second of three epochs
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(CLIPLoRA, "forward_backward", dies)
    with pytest.raises(KeyboardInterrupt):
        run_one(cfg)
    torch.randn(100)  # another process would not have the generator where this one left it
    got = train(cfg)
    assert len(steps) == 9 + 12
    assert equal(got[1], wanted[1])
    for key in ("accuracy", "best_epoch", "val_accuracy_per_epoch"):
        assert got[0][key] == wanted[0][key]


def test_what_was_learned_works_for_new_classes_and_can_be_loaded(pictures, tmp_path, weights):
    options = ("DATASET.SUBSAMPLE_CLASSES", "base", "TEST.TARGETS", "['new']")
    cfg = config(pictures, tmp_path, *options, weights=weights[1])
    record = run_one(cfg)
    assert record["num_classes"] == 2
    assert 0 <= record["targets"]["new"] <= 100
    again = run_one(config(pictures, tmp_path / "again", *options, weights=weights[1]), eval_only=True,
                    model_dir=cfg.OUTPUT_DIR)  # fmt: skip
    assert again["accuracy"] == record["accuracy"]


def test_a_residual_network_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="vision transformer of open_clip's own, but tiny-clip has none; choose a ViT"):
        run_one(config(pictures, tmp_path, arch="tiny-clip"))


def test_the_script(pictures, tmp_path, weights):
    """As a user types it; the architecture is made known to open_clip at the start of the interpreter."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import open_clip\nopen_clip.add_model_config({str(weights[0])!r})\n")
    variables = {"BACKBONE": tiny_vit.ARCH, "WEIGHTS": weights[1], "OUTPUT": tmp_path / "output", "SEEDS": "1"}
    variables |= {
        "CACHE": tmp_path / "cache",
        "PYTHON": sys.executable,
        "PYTHONPATH": site,
        "PRESET": "official",
        "OMP_NUM_THREADS": 1,
    }
    done = subprocess.run(
        f"bash scripts/clip_lora/main.sh imagefolder 1 DATASET.FOLDER {pictures} OPTIM.MAX_EPOCH 2 "
        "TRAINER.CLIPLORA.STEPS_PER_SHOT 5 DATALOADER.NUM_WORKERS 0",
        shell=True,
        cwd=REPO,
        env=os.environ | {key: str(value) for key, value in variables.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["method"], record["backbone"], record["preset"]) == ("CLIPLoRA", tiny_vit.ARCH, "official")
    assert record["num_test"] == 16
    assert "CLIPLoRA" in done.stdout
