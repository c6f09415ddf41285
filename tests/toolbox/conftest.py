"""Goldens, a configuration, a small data set of rendered image files, a trainer in the manner of CoOp's."""

from __future__ import annotations

import json
import os.path as osp
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
from dassl.metrics import compute_accuracy
from dassl.modeling import BACKBONE_REGISTRY, Backbone
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, set_random_seed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def engine_goldens() -> dict[str, Any]:
    """What upstream's samplers, transforms, evaluator, meters and few-shot draws gave."""
    return json.loads((ROOT / "tests/goldens/engine_goldens.json").read_text())


@pytest.fixture(autouse=True)
def keep_stdout():
    """Tests that set up a log must not leave it to the others."""
    before = sys.stdout
    yield
    sys.stdout = before


@pytest.fixture
def item(tmp_path):
    """Makes a `Datum` of an (empty) file: item(label, domain, name)."""

    def make(label: int = 0, domain: int = 0, name: str = "image", classname: str | None = None) -> Datum:
        path = tmp_path / name
        path.touch()
        return Datum(str(path), label, domain, f"class_{label}" if classname is None else classname)

    return make


def render(path: Path, label: int, seed: int) -> None:
    """A picture of a disc, a box or a cross in a colour of its class, somewhere on a noisy ground."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 160, (24, 32, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = int(rng.integers(2, 14)), int(rng.integers(2, 6))
    box, colour = (x, y, x + 14, y + 14), [(220, 40, 40), (40, 200, 40), (40, 40, 220)][label]
    if label == 0:
        draw.ellipse(box, fill=colour)
    elif label == 1:
        draw.rectangle(box, fill=colour)
    else:
        draw.line(box, fill=colour, width=4)
        draw.line((box[0], box[3], box[2], box[1]), fill=colour, width=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope="session")
def picture_root(tmp_path_factory) -> Path:
    """Rendered files of three classes: per class 8 for training, 4 for validation, 6 for test."""
    root = tmp_path_factory.mktemp("pictures")
    for label in range(3):
        for number in range(18):
            split = "train" if number < 8 else "val" if number < 12 else "test"
            render(root / split / str(label) / f"{number}.png", label, 100 * label + number)
    return root


class ToolboxPictures(DatasetBase):
    """The rendered pictures as a data set, written as plugins write theirs."""

    def __init__(self, cfg):
        splits = {split: self.read(Path(cfg.DATASET.ROOT), split) for split in ("train", "val", "test")}
        train = self.generate_fewshot_dataset(splits["train"], num_shots=cfg.DATASET.NUM_SHOTS)
        super().__init__(train_x=train, val=splits["val"], test=splits["test"])

    @staticmethod
    def read(root: Path, split: str) -> list[Datum]:
        files = sorted((root / split).glob("*/*.png"))
        names = ["disc", "box", "cross"]
        return [Datum(str(f), int(f.parent.name), classname=names[int(f.parent.name)]) for f in files]


@pytest.fixture(autouse=True)
def registered_pictures(monkeypatch):
    """Registered for these tests only: other tests list what the program registers."""
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "ToolboxPictures", ToolboxPictures)


@pytest.fixture
def cfg(picture_root, tmp_path):
    """A configuration in the manner of CoOp's, for the pictures and a second of CPU."""
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.USE_CUDA = False
    cfg.SEED = 1
    cfg.DATASET.ROOT = str(picture_root)
    cfg.DATASET.NAME = "ToolboxPictures"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 8
    cfg.DATALOADER.TEST.BATCH_SIZE = 10
    cfg.INPUT.SIZE = (16, 16)
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.TRANSFORMS = ["random_resized_crop", "random_flip", "normalize"]
    cfg.OPTIM.NAME = "sgd"
    cfg.OPTIM.LR = 0.02
    cfg.OPTIM.MAX_EPOCH = 5
    cfg.OPTIM.LR_SCHEDULER = "cosine"
    cfg.OPTIM.WARMUP_EPOCH = 1
    cfg.OPTIM.WARMUP_TYPE = "constant"
    cfg.OPTIM.WARMUP_CONS_LR = 1e-5
    cfg.TRAIN.PRINT_FREQ = 1
    return cfg


class TinyBackbone(Backbone):
    """Pixels as features."""

    def __init__(self):
        super().__init__()
        self._out_features = 3 * 16 * 16

    def forward(self, x):
        return x.flatten(1)


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    """Registered for these tests only."""
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "toolbox_tiny", lambda pretrained: TinyBackbone())


class PromptLearner(nn.Module):
    """Class vectors; a buffer made from the class names rides along in the state dict."""

    def __init__(self, classnames: list[str], dim: int):
        super().__init__()
        self.ctx = nn.Parameter(torch.randn(len(classnames), dim) * 0.02)
        self.register_buffer("token_prefix", torch.tensor([float(len(name)) for name in classnames]))


class TinyCLIP(nn.Module):
    """Fixed random projection of the pixels, compared with the class vectors."""

    def __init__(self, classnames: list[str]):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image_encoder = nn.Linear(3 * 16 * 16, 32)
        self.image_encoder.weight.data = torch.randn(32, 3 * 16 * 16, generator=generator)
        self.prompt_learner = PromptLearner(classnames, 32)

    def forward(self, image):
        features = F.normalize(self.image_encoder(image.flatten(1)), dim=1)
        return 10 * features @ F.normalize(self.prompt_learner.ctx, dim=1).t()


class ToolboxCoOp(TrainerX):
    """What CoOp overrides, and no more."""

    stop_before: int | None = None

    def check_cfg(self, cfg):
        assert cfg.TRAINER.NAME == "ToolboxCoOp"

    def build_model(self):
        self.model = TinyCLIP(self.dm.dataset.classnames)
        for name, param in self.model.named_parameters():
            param.requires_grad_("prompt_learner" in name)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model.prompt_learner, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)
        self.used: list[tuple[int, float]] = []

    def before_epoch(self):
        if self.epoch == self.stop_before:
            raise KeyboardInterrupt

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        self.used.append((self.epoch, self.optim.param_groups[0]["lr"]))
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        if not directory:
            return
        file = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            state_dict = load_checkpoint(osp.join(directory, name, file))["state_dict"]
            state_dict.pop("token_prefix", None)
            self._models[name].load_state_dict(state_dict, strict=False)


@pytest.fixture
def coop(monkeypatch) -> type[ToolboxCoOp]:
    """The trainer, registered for these tests only."""
    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "ToolboxCoOp", ToolboxCoOp)
    return ToolboxCoOp


@pytest.fixture
def make(coop):
    """make(cfg, stop_before=None): seeds and builds the trainer, as a train.py does."""

    def make(cfg, stop_before: int | None = None) -> ToolboxCoOp:
        cfg.TRAINER.NAME = "ToolboxCoOp"
        set_random_seed(cfg.SEED)
        trainer = build_trainer(cfg)
        trainer.stop_before = stop_before
        return trainer

    return make


@pytest.fixture
def interrupted(make):
    """interrupted(cfg, stop_before): trains from where the disk says up to an epoch."""

    def interrupted(cfg, stop_before: int) -> ToolboxCoOp:
        trainer = make(cfg, stop_before)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        trainer.close_writer()
        return trainer

    return interrupted
