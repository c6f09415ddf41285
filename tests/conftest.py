"""Shared fixtures: small random CLIP models, small real image files, a few-shot task of random features."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from helpers.images import make_images
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.prompt_learning import TextTower
from simnl.runs.logs import OWN_PACKAGES

torch.set_num_threads(1)  # tensors here are small: more threads only cost time

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {
    "test-resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "test-vit": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
}


LONG = ("tests/e2e/", "tests/trainers/test_on_a_gpu.py")


def pytest_collection_modifyitems(items):
    """Files that take long start first, so that all processes end at about the same time (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Tools set levels and handlers for their process; what one test runs must not silence another."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in OWN_PACKAGES)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def clip_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Weights files of two small random models, whose architectures are known to open_clip by name."""
    folder, files = tmp_path_factory.mktemp("clip"), {}
    for name, vision in VISION.items():
        config = folder / f"{name}.json"
        config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}))
        open_clip.add_model_config(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = open_clip.create_model(name)
        files[name] = folder / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, files[name])
    return files


@pytest.fixture(params=list(VISION))
def random_clip(request, clip_checkpoints) -> FrozenCLIP:
    """A ResNet-shaped and a ViT-shaped CLIP of random weights, width 16."""
    return load_clip(request.param, str(clip_checkpoints[request.param]))


@pytest.fixture
def vit(clip_checkpoints) -> FrozenCLIP:
    """The ViT-shaped one."""
    return load_clip("test-vit", str(clip_checkpoints["test-vit"]))


@pytest.fixture
def image_files(tmp_path) -> list[str]:
    """Twelve different small image files."""
    return make_images(tmp_path / "images", 12)


@pytest.fixture
def make_believe_gpu():
    """A GPU that is not there (make_believe_gpu.py); the fixture's value counts synchronisations and copies."""
    from helpers.make_believe_gpu import make_believe

    with make_believe() as gpu:
        yield gpu


@pytest.fixture(scope="session")
def clip() -> FrozenCLIP:
    """The bundled model."""
    return load_clip("tiny-clip", "bundled")


@pytest.fixture(scope="session")
def tower(clip) -> TextTower:
    """Its text tower, for methods that learn prompts."""
    return TextTower(clip)
