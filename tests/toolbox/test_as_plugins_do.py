"""Trainers that import and use the engine as public plugins do; and upstream's baseline."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import load_checkpoint, set_random_seed

# As at the head of public plugins' files.
PLUGIN = '''
import os.path as osp
import dassl.engine.trainer
from dassl.data import DataManager
from dassl.data.data_manager import DatasetWrapper, T, build_data_loader
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from dassl.engine import TrainerX
from dassl.engine.dg import Vanilla
from dassl.engine.trainer import (
    OrderedDict, SimpleTrainer, SummaryWriter, TrainerBase, build_backbone, build_head, load_checkpoint,
    resume_from_checkpoint, save_checkpoint, tolist_if_not,
)
from dassl.evaluation.evaluator import *
from dassl.metrics import compute_accuracy
from dassl.modeling.ops import MixStyle
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.optim.lr_scheduler import AVAI_SCHEDS, ConstantWarmupScheduler, _BaseWarmupScheduler, _LRScheduler
from dassl.optim.radam import AdamW, PlainRAdam, RAdam
from dassl.utils import count_num_param
from dassl.utils.torchtools import adjust_learning_rate, partial, set_bn_to_eval


class Counting(Classification):
    def process(self, mo, gt):
        super().process(mo, gt)
        assert len(self._y_true) == self._total


class MiniPlugin(TrainerX):
    def build_model(self):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8), torch.nn.BatchNorm1d(8))
        self.prompts = torch.nn.Linear(8, self.num_classes)
        self.model = torch.nn.Sequential(net, self.prompts)
        self.optim = RAdam(self.prompts.parameters(), lr=0.05, degenerated_to_sgd=True)
        successor = torch.optim.lr_scheduler.CosineAnnealingLR(self.optim, self.max_epoch)
        self.sched = OwnWarmup(self.optim, successor, 1, 1e-5, verbose=False)
        self.register_model("mini", self.prompts, self.optim, self.sched)
        self.evaluator_class, self.rates = Counting, []

    def before_train(self):
        super().before_train()
        self.evaluator = Counting(self.cfg, lab2cname=self.lab2cname)

    def forward_backward(self, batch):
        self.model.apply(set_bn_to_eval)
        image, label = self.parse_batch_train(batch)
        self.rates.append(self.optim.param_groups[0]["lr"])
        output = self.model(image)
        loss = torch.nn.functional.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return OrderedDict(loss=loss.item(), acc=compute_accuracy(output, label)[0].item())

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)


class OwnWarmup(_LRScheduler):
    """A plugin's own copy of a warm-up: its state holds the successor itself."""

    def __init__(self, optimizer, successor, warmup_epoch, cons_lr, last_epoch=-1, verbose=False):
        self.successor, self.warmup_epoch, self.cons_lr = successor, warmup_epoch, cons_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return [self.cons_lr for _ in self.base_lrs]

    def step(self, epoch=None):
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)
'''


@pytest.fixture
def build(cfg, monkeypatch):
    """build(max_epoch): a trainer of the plugin, seeded."""
    scope: dict = {"__name__": "mini_plugin"}
    exec(PLUGIN, scope)
    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "MiniPlugin", scope["MiniPlugin"])

    def build(max_epoch: int = 4):
        cfg.TRAINER.NAME, cfg.OPTIM.MAX_EPOCH, cfg.TRAIN.CHECKPOINT_FREQ = "MiniPlugin", max_epoch, 2
        set_random_seed(1)
        return build_trainer(cfg)

    return build


def test_a_plugin_trains_and_resumes(cfg, tmp_path, build):
    whole = build()
    whole.train()
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    first = build()
    first.max_epoch = 2
    first.train()
    second = build()
    second.train()
    assert second.start_epoch == 2
    assert first.rates + second.rates == whole.rates
    assert torch.equal(second.prompts.weight, whole.prompts.weight)
    assert second.sched.successor.optimizer is second.optim
    checkpoint = load_checkpoint(f"{cfg.OUTPUT_DIR}/mini/model.pth.tar-4")
    assert type(checkpoint["scheduler"]["successor"]) is dict


# ---------------------------------------------------------------------- settings that a resumed run does not take


def resumed(make, cfg, capsys, **values) -> str:
    """What a run of one epoch says when it is resumed with other settings."""
    cfg.OPTIM.MAX_EPOCH = 1
    make(cfg).train()
    for key, value in values.items():
        cfg.OPTIM[key] = value
    trainer = make(cfg)
    capsys.readouterr()
    with pytest.warns(UserWarning, match="settings of its checkpoint"):
        trainer.resume_model_if_exist(cfg.OUTPUT_DIR)
    return re.search(r"^Warning: (.*)$", capsys.readouterr().out, re.M)[1]


@pytest.mark.parametrize("warmup", [-1, 1])
def test_a_longer_schedule_is_not_taken_in_silence(cfg, capsys, make, warmup):
    cfg.OPTIM.WARMUP_EPOCH = warmup
    text = resumed(make, cfg, capsys, MAX_EPOCH=2)
    assert "its schedule is for 1 epochs, while OPTIM.MAX_EPOCH is 2" in text
    assert ("the learning rate is 0 now" in text) == (warmup == -1)
    assert "another OUTPUT_DIR" in text


@pytest.mark.parametrize(
    ("schedule", "values", "texts"),
    [
        ("single_step", {"MAX_EPOCH": 2}, ["OPTIM.STEPSIZE", "OPTIM.MAX_EPOCH) is 1, not 2"]),
        ("single_step", {"GAMMA": 0.5}, ["its OPTIM.GAMMA is 0.1, not 0.5"]),
        ("cosine", {"LR": 0.5}, ["its OPTIM.LR is 0.02, not 0.5"]),
        ("cosine", {"WEIGHT_DECAY": 0.25, "MOMENTUM": 0.5}, ["MOMENTUM is 0.9, not 0.5", "WEIGHT_DECAY is 0.0005"]),
        ("cosine", {"WARMUP_CONS_LR": 1e-3}, ["WARMUP_CONS_LR is 1e-05, not 0.001"]),
        ("cosine", {"WARMUP_EPOCH": 2}, ["WARMUP_EPOCH is 1, not 2"]),
    ],
)
def test_other_settings_are_named(cfg, capsys, make, schedule, values, texts):
    cfg.OPTIM.LR_SCHEDULER = schedule
    said = resumed(make, cfg, capsys, **values)
    for text in texts:
        assert text in said
    assert said.count(" not ") == 1 + len(values)  # the sentence's own, and one per setting


def test_equal_settings_are_not_mentioned(cfg, capsys, make, recwarn):
    cfg.OPTIM.MAX_EPOCH = 1
    make(cfg).train()
    make(cfg).resume_model_if_exist(cfg.OUTPUT_DIR)
    assert "Warning" not in capsys.readouterr().out
    assert not [w for w in recwarn if "checkpoint" in str(w.message)]


@pytest.mark.parametrize(("before", "after"), [(1, -1), (-1, 1)])
def test_a_warm_up_that_comes_or_goes_is_refused(cfg, make, before, after):
    cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WARMUP_EPOCH = 1, before
    make(cfg).train()
    cfg.OPTIM.WARMUP_EPOCH = after
    with pytest.raises(ValueError, match=r"warm-up.*OPTIM\.WARMUP_EPOCH.*another OUTPUT_DIR"):
        make(cfg).train()


# ---------------------------------------------------------------------- upstream's baseline


def test_vanilla_trains_tests_and_resumes(cfg, capsys):
    cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.MAX_EPOCH = "Vanilla", "toolbox_tiny", 3
    set_random_seed(1)
    trainer = build_trainer(cfg)
    batch = next(iter(trainer.train_loader_x))
    assert [t.shape for t in trainer.parse_batch_train(batch)] == [(8, 3, 16, 16), (8,)]
    before = trainer.model.classifier.weight.clone()
    trainer.train()
    assert not torch.equal(trainer.model.classifier.weight, before)
    assert re.search(r"loss \d.* acc \d.* lr ", capsys.readouterr().out)
    again = build_trainer(cfg)
    assert again.resume_model_if_exist(cfg.OUTPUT_DIR) == 3
    assert again.test() == trainer.test()


# ---------------------------------------------------------------------- torchtools and policies


def test_rate_by_hand():
    from dassl.utils.torchtools import adjust_learning_rate

    optimizer = torch.optim.SGD([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)]}], 1.0)

    def rates(**options) -> list[float]:
        seen = []
        for epoch in (0, 5, 10):
            adjust_learning_rate(optimizer, 0.5, epoch, **options)
            assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    assert rates(stepsize=5, gamma=0.5) == [0.5, 0.25, 0.125]
    assert rates(linear_decay=True, final_lr=0.1, max_epoch=10) == pytest.approx([0.5, 0.3, 0.1])


def test_batch_norms_in_evaluation():
    from dassl.utils.torchtools import set_bn_to_eval

    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.BatchNorm1d(1)).train()
    model.apply(set_bn_to_eval)
    assert [layer.training for layer in model] == [False, True, False]


def test_operations_and_sub_policies():
    import random

    from PIL import Image

    from dassl.data.transforms.autoaugment import SubPolicy
    from dassl.data.transforms.operations import OPERATIONS, solarize_add
    from dassl.data.transforms.randaugment import fixmatch_list, randaugment_list, randaugment_list2

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))
    for name in OPERATIONS:
        for level in (0, 9):
            out = SubPolicy(1, name, level, 1, "invert", 0)(image)
            assert (out.size, out.mode) == (image.size, "RGB")
    assert SubPolicy(0, "invert", 0, 0, "rotate", 9)(image) == image
    inverted = np.asarray(SubPolicy(1, "invert", 0, 0, "rotate", 9)(image))
    assert (inverted == 255 - np.asarray(image)).all()
    darks = np.asarray(image) < 128
    assert (np.asarray(solarize_add(image, 100))[darks] == np.asarray(image)[darks] + 100).all()
    for operations in (randaugment_list(), randaugment_list2(), fixmatch_list()):
        for operation, least, greatest in operations:
            for strength in (least, greatest):
                assert operation(image, strength).size == image.size
    random.seed(3)
    first = [np.asarray(SubPolicy(0.5, "shearX", 9, 0.5, "rotate", 9)(image)).sum() for _ in range(5)]
    random.seed(3)
    assert first == [np.asarray(SubPolicy(0.5, "shearX", 9, 0.5, "rotate", 9)(image)).sum() for _ in range(5)]
    for arguments, text in (((1, "twirl", 0, 1, "invert", 0), "twirl"), ((1, "rotate", 10, 1, "invert", 0), "10")):
        with pytest.raises(ValueError, match=text):
            SubPolicy(*arguments)


def test_weights_from_an_address(tmp_path, monkeypatch):
    from dassl.modeling.backbone.resnet import init_pretrained_weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source, target = nn.Linear(2, 2), nn.Sequential()
    target.add_module("weight_of_mine", nn.Linear(2, 2))
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    other = nn.Linear(2, 2)
    init_pretrained_weights(other, (tmp_path / "weights.pth").as_uri())
    assert torch.equal(other.weight, source.weight)
    assert F.linear(torch.ones(2), other.weight).shape == (2,)
