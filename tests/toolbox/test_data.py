"""Samplers, transforms, the wrapper and the loaders."""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data import DataManager, DatasetWrapper
from dassl.data.data_manager import build_data_loader
from dassl.data.samplers import build_sampler
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from dassl.data.transforms.transforms import (
    AVAI_CHOICES,
    Cutout,
    GaussianNoise,
    InstanceNormalization,
    Random2DTranslation,
)
from dassl.utils import read_image, set_random_seed


@pytest.mark.parametrize("number", range(7))
def test_sampler_is_upstreams(engine_goldens, number):
    goldens = engine_goldens["samplers"]
    source = [
        SimpleNamespace(label=label, domain=domain)
        for label, domain in zip(goldens["labels"], goldens["domains"], strict=True)
    ]
    case = goldens["cases"][number]
    keys = {key: case[key] for key in ("batch_size", "n_domain", "n_ins") if key in case}
    set_random_seed(1)
    sampler = build_sampler(case["type"], None, source, **keys)
    assert len(sampler) == case["len"]
    assert list(sampler) == case["epoch1"]
    assert list(sampler) == case["epoch2"]


@pytest.mark.parametrize(
    ("name", "keys", "text"),
    [
        ("RandomDomainSampler", {"batch_size": 7, "n_domain": 2}, "multiple of the 2 domains"),
        ("RandomDomainSampler", {"batch_size": 6, "n_domain": 3}, "the data have 2"),
        ("SeqDomainSampler", {"batch_size": 40}, "fewer than the 20 images"),
        ("RandomClassSampler", {"batch_size": 2, "n_ins": 4}, "at least the 4 images"),
        ("RandomClassSampler", {"batch_size": 12, "n_ins": 2}, "6 classes"),
        ("RandomSample", {}, "RandomSample.*RandomClassSampler"),
    ],
)
def test_sampler_says_what_is_wrong(name, keys, text):
    source = [SimpleNamespace(label=i % 3, domain=i % 2) for i in range(12)]
    with pytest.raises(ValueError, match=text):
        build_sampler(name, None, source, **keys)


# ---------------------------------------------------------------------- transforms


def input_cfg(**values):
    cfg = get_cfg_default()
    cfg.INPUT.SIZE = (224, 192)
    for key, value in values.items():
        cfg.INPUT[key] = value
    return cfg


@pytest.mark.parametrize("number", range(7))
def test_transform_is_upstreams(engine_goldens, capsys, number):
    golden = engine_goldens["transforms"][number]
    cfg = input_cfg(TRANSFORMS=golden["INPUT.TRANSFORMS"])
    for is_train, kind in ((True, "train"), (False, "test")):
        transform = build_transform(cfg, is_train=is_train)
        assert [type(t).__name__ for t in transform.transforms] == golden[kind]
        assert transform(Image.new("RGB", (300, 260))).shape == (3, 224, 192)
    assert capsys.readouterr().out == golden["stdout"]


@pytest.mark.parametrize("choice", AVAI_CHOICES)
def test_every_choice_works(choice):
    transform = build_transform(input_cfg(SIZE=(24, 20)), choices=[choice])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    for _ in range(4):
        result = transform(image)
        assert result.dtype == torch.float32
        assert torch.isfinite(result).all()
        if choice != "random_crop":  # which takes images of the size already
            assert result.shape == (3, 24, 20)


def test_transform_settings_arrive():
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    cfg = input_cfg(
        TRANSFORMS=["random_resized_crop", "normalize"],
        INTERPOLATION="bicubic",
        RRCROP_SCALE=(0.5, 0.6),
        PIXEL_MEAN=mean,
        PIXEL_STD=std,
    )
    crop, _, normalize = build_transform(cfg).transforms
    assert (crop.size, crop.scale, crop.interpolation) == (
        (224, 192),
        (0.5, 0.6),
        INTERPOLATION_MODES["bicubic"],
    )
    resize, centre, _, test_normalize = build_transform(cfg, is_train=False).transforms
    assert (resize.size, resize.interpolation, centre.size) == (
        224,
        INTERPOLATION_MODES["bicubic"],
        (224, 192),
    )
    assert (normalize.mean, normalize.std) == (test_normalize.mean, test_normalize.std) == (mean, std)


def test_no_transform_and_unknown_ones():
    assert build_transform(input_cfg(NO_TRANSFORM=True)) is None
    for error in (ValueError, AssertionError):  # the latter is upstream's
        with pytest.raises(error, match=r"random_flop.*random_flip"):
            build_transform(input_cfg(TRANSFORMS=["random_flop"]))
    with pytest.raises(ValueError, match=r"lanczos.*bicubic"):
        build_transform(input_cfg(INTERPOLATION="lanczos"))


def test_translation():
    image = Image.fromarray(np.arange(36 * 36, dtype=np.uint16).astype(np.uint8).reshape(36, 36))
    assert np.array_equal(Random2DTranslation(36, 36, p=0)(image), image)
    still = Image.fromarray(np.full((36, 36), 7, dtype=np.uint8))
    assert np.array_equal(Random2DTranslation(32, 32, p=1)(still), np.full((32, 32), 7))
    random.seed(0)
    moved = {Random2DTranslation(32, 32, p=1)(image).tobytes() for _ in range(10)}
    assert len(moved) > 3  # 36 = 1.125 * 32: windows of the image itself
    windows = {np.asarray(image)[y : y + 32, x : x + 32].tobytes() for y in range(5) for x in range(5)}
    assert moved <= windows


def test_cutout():
    np.random.seed(0)
    image = torch.ones(3, 40, 30)
    holes = [int((Cutout(1, 16)(image)[0] == 0).sum()) for _ in range(50)]
    assert max(holes) == 256
    assert min(holes) < 256  # some reach over the border
    assert image.min() == 1


def test_noise_and_instance_norm():
    random.seed(0)
    torch.manual_seed(0)
    image = torch.zeros(1, 100, 100)
    noisy = GaussianNoise(0.5, 0.2, p=1.0)(image)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noisy.std().item() == pytest.approx(0.2, abs=0.01)
    kept = sum(GaussianNoise()(image) is image for _ in range(200))
    assert 70 < kept < 130
    result = InstanceNormalization()(torch.rand(3, 20, 20) * torch.tensor([1.0, 5.0, 0.0]).view(3, 1, 1))
    assert torch.allclose(result.mean((1, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(result.std((1, 2)), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5)


# ---------------------------------------------------------------------- wrapper and loaders


def test_wrapper_item(cfg, picture_root):
    data = DataManager(cfg).dataset
    wrapper = DatasetWrapper(cfg, data.test)
    assert len(wrapper) == 18
    item = wrapper[7]
    assert {k: item[k] for k in ("label", "domain", "index")} == {"label": 1, "domain": 0, "index": 7}
    assert item["impath"] == data.test[7].impath
    assert np.array_equal(item["img"], read_image(item["impath"]))
    wrapper.transform = lambda image: image.size  # CLAP exchanges transforms
    assert wrapper[0]["img"] == (32, 24)
    two = DatasetWrapper(cfg, data.test, transform=[lambda image: 1, lambda image: 2, lambda image: 3])
    assert [two[0][k] for k in ("img", "img2", "img3")] == [1, 2, 3]


def test_wrapper_of_several_views_and_the_plain_image(cfg):
    cfg.DATALOADER.K_TRANSFORMS = 3
    cfg.DATALOADER.RETURN_IMG0 = True
    loader = DataManager(cfg).train_loader_x
    batch = next(iter(loader))
    assert [view.shape for view in batch["img"]] == [(8, 3, 16, 16)] * 3
    assert not torch.equal(batch["img"][0], batch["img"][1])
    first = read_image(batch["impath"][0]).resize((16, 16), Image.BICUBIC)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    expected = (torch.from_numpy(np.asarray(first) / 255.0).permute(2, 0, 1) - mean) / std
    assert torch.allclose(batch["img0"][0], expected.float(), atol=1e-5)
    assert isinstance(next(iter(DataManager(cfg).test_loader))["img"], torch.Tensor)
    with pytest.raises(ValueError, match="K_TRANSFORMS is 3"):
        DatasetWrapper(cfg, [], is_train=True)


@pytest.mark.parametrize(("num_shots", "sizes"), [(2, [6]), (3, [8]), (-1, [8, 8, 8])])
def test_last_batch_is_dropped_unless_it_is_the_only_one(cfg, num_shots, sizes):
    cfg.DATASET.NUM_SHOTS = num_shots
    manager = DataManager(cfg)
    assert [len(batch["label"]) for batch in manager.train_loader_x] == sizes
    assert [len(batch["label"]) for batch in manager.test_loader] == [10, 8]
    labels = torch.cat([batch["label"] for batch in manager.val_loader])
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert manager.train_loader_u is None
    assert copy.copy(manager.train_loader_x).batch_size == 8


def test_data_manager_says_what_it_has(cfg, capsys):
    manager = DataManager(cfg, custom_tfm_train=lambda image: 1, custom_tfm_test=[lambda image: 2])
    out = capsys.readouterr().out
    assert "Loading dataset: ToolboxPictures\n* Using custom transform for training\n" in out
    assert "* Using custom transform for testing\n" in out
    rows = {tuple(line.rsplit(maxsplit=1)) for line in out.splitlines() if line.startswith(("#", "Dataset"))}
    assert rows == {
        ("Dataset", "ToolboxPictures"),
        ("# classes", "3"),
        ("# train_x", "24"),
        ("# val", "12"),
        ("# test", "18"),
    }
    assert (manager.num_classes, manager.num_source_domains) == (3, 0)
    assert manager.lab2cname == {0: "disc", 1: "box", 2: "cross"}
    assert manager.dataset.classnames == ["disc", "box", "cross"]


def test_unlabelled_loader_copies_the_labelled_ones_settings(cfg, monkeypatch):
    from dassl.data import data_manager

    data = DataManager(cfg).dataset
    data._train_u = data.train_x
    monkeypatch.setattr(data_manager, "build_dataset", lambda cfg: data)
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 5
    assert DataManager(cfg).train_loader_u.batch_size == 8
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    assert DataManager(cfg).train_loader_u.batch_size == 5


def test_empty_source_is_refused(cfg):
    for error in (ValueError, AssertionError):
        with pytest.raises(error, match="ToolboxPictures has no images for evaluation"):
            build_data_loader(cfg, data_source=[], is_train=False)


def test_workers_read_the_same(cfg):
    expected = [batch["img"] for batch in DataManager(cfg).test_loader]
    cfg.DATALOADER.NUM_WORKERS = 1
    for ours, theirs in zip(DataManager(cfg).test_loader, expected, strict=True):
        assert torch.equal(ours["img"], theirs)
