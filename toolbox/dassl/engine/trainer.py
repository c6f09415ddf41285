"""Trainers on data from a `DataManager`."""

from __future__ import annotations

import datetime
import os
import os.path as osp
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from yacs.config import CfgNode

from dassl._lazy import lazy
from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.modeling import build_backbone, build_head
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    mkdir_if_missing,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)
from dassl.utils.checkpoint import BEST
from dassl.utils.tools import warn_in_log

from .base import Names, TrainerBase
from .simple_net import SimpleNet

LAZY = {"SummaryWriter": "torch.utils.tensorboard:SummaryWriter"}
# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
__all__ = [
    "AverageMeter",
    "DataManager",
    "MetricMeter",
    "OrderedDict",
    "SimpleNet",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "build_backbone",
    "build_evaluator",
    "build_head",
    "build_lr_scheduler",
    "build_optimizer",
    "count_num_param",
    "datetime",
    "load_checkpoint",
    "load_pretrained_weights",
    "mkdir_if_missing",
    "nn",
    "np",
    "osp",
    "resume_from_checkpoint",
    "save_checkpoint",
    "time",
    "tolist_if_not",
    "torch",
    "tqdm",
    *LAZY,
]

__getattr__ = lazy(__name__, LAZY)


class SimpleTrainer(TrainerBase):
    """Builds data, model and evaluator from a configuration; saves, resumes and tests.

    The constructor calls `check_cfg`, `build_data_loader`, `build_model` in this order. A subclass with a
    model of its own overrides `build_model`, which sets `self.model` and calls `register_model`.

    Args:
        cfg: configuration.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.check_cfg(cfg)
        use_cuda = torch.cuda.is_available() and cfg.USE_CUDA
        self.device = torch.device("cuda" if use_cuda else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self._temporary_epoch: int | None = None
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -np.inf

    def check_cfg(self, cfg: CfgNode) -> None:
        """Called first, for checks of the configuration."""

    def build_data_loader(self) -> None:
        """Make `dm` and what comes from it: loaders, `num_classes`, `num_source_domains`, `lab2cname`."""
        dm = DataManager(self.cfg)
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u
        self.val_loader = dm.val_loader
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        """Make and register `SimpleNet` as `model`, on all GPUs."""
        cfg = self.cfg
        print("Building model")
        self.model: nn.Module = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)
        if self.device.type == "cuda" and torch.cuda.device_count() > 1:
            print(f"Detected {torch.cuda.device_count()} GPUs (use nn.DataParallel)")
            self.model = nn.DataParallel(self.model)

    def train(self) -> None:
        """Train, then test."""
        super().train(self.start_epoch, self.max_epoch)

    # ------------------------------------------------------------------ hooks

    def before_train(self) -> None:
        """Resume from RESUME or OUTPUT_DIR if there is a checkpoint; open the TensorBoard log."""
        if self._selects_on_val() and self.val_loader is None:
            warn_in_log(
                "TEST.FINAL_MODEL is best_val, but there are no validation images: the best epoch is "
                "selected on the test set, so its accuracy there says little about new images"
            )
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
        writer_dir = osp.join(self.output_dir, "tensorboard")
        mkdir_if_missing(writer_dir)
        self.init_writer(writer_dir)
        self.time_start = time.time()

    def after_epoch(self) -> None:
        """Save the best model so far (with FINAL_MODEL best_val), and the last, as CHECKPOINT_FREQ says.

        With best_val, each epoch leaves a checkpoint, so that a run which is interrupted goes on from its
        last epoch rather than from its best one. Those which CHECKPOINT_FREQ does not ask for are removed
        again by the next.
        """
        freq = self.cfg.TRAIN.CHECKPOINT_FREQ
        to_keep = (self.epoch + 1) == self.max_epoch or (freq > 0 and (self.epoch + 1) % freq == 0)
        if self._selects_on_val():
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST)
        if to_keep or self._selects_on_val():
            self.save_model(self.epoch, self.output_dir)
            self._remove_temporary_checkpoint()
            self._temporary_epoch = None if to_keep else self.epoch + 1

    def after_train(self) -> None:
        """Test the last model or the best one, and say how long all took."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self._selects_on_val():
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {_duration(time.time() - self.time_start)}")
        self.close_writer()

    def _selects_on_val(self) -> bool:
        return not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val"

    def _remove_temporary_checkpoint(self) -> None:
        if self._temporary_epoch is None:
            return
        for name in self.get_model_names():
            fpath = osp.join(self.output_dir, name, f"model.pth.tar-{self._temporary_epoch}")
            if osp.exists(fpath):
                os.remove(fpath)

    # ------------------------------------------------------------------ an epoch

    def _run_batches(self, batches: Iterable, num_batches: int, step: Callable[[Any], dict | None]) -> None:
        """Train on the batches of an epoch, with the log that goes with it.

        Args:
            batches: the batches; num_batches: their number.
            step: trains on a batch; returns figures for the log.
        """
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = num_batches
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            losses.update(step(batch))
            batch_time.update(time.time() - end)
            self._log_batch(losses, batch_time, data_time)
            end = time.time()

    def _log_batch(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter) -> None:
        freq = self.cfg.TRAIN.PRINT_FREQ
        if (self.batch_idx + 1) % freq == 0 or self.num_batches < freq:
            epochs_left = self.max_epoch - self.epoch - 1
            batches_left = self.num_batches - self.batch_idx - 1 + epochs_left * self.num_batches
            print(
                f"epoch [{self.epoch + 1}/{self.max_epoch}] "
                f"batch [{self.batch_idx + 1}/{self.num_batches}] "
                f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) "
                f"data {data_time.val:.3f} ({data_time.avg:.3f}) "
                f"{losses} "
                f"lr {self.get_current_lr():.4e} "
                f"eta {_duration(batch_time.avg * batches_left)}"
            )
        n_iter = self.epoch * self.num_batches + self.batch_idx
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, n_iter)
        self.write_scalar("train/lr", self.get_current_lr(), n_iter)

    def get_current_lr(self, names: Names = None) -> float:
        """Learning rate of the first parameter group of the first of the models; 0 if it has no optimiser."""
        optim = self._optims[self.get_model_names(names)[0]]
        return optim.param_groups[0]["lr"] if optim is not None else 0.0

    # ------------------------------------------------------------------ evaluation

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on a split.

        Args:
            split: `val` or `test`; None: TEST.SPLIT. Without validation images, `val` is `test`.

        Returns:
            The evaluator's first figure, accuracy in percent.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        if split is None:
            split = self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            data_loader = self.val_loader
        else:
            split, data_loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(data_loader, f"Testing on {split}", leave=False, disable=None if self.cfg.VERBOSE else True):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return list(results.values())[0]

    def model_inference(self, input: Any) -> Any:
        """`self.model(input)`."""
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,), on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)


class TrainerX(SimpleTrainer):
    """Trains on labelled images."""

    def run_epoch(self) -> None:
        """`forward_backward` for each batch of `train_loader_x`."""
        self._run_batches(self.train_loader_x, len(self.train_loader_x), self.forward_backward)

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W), labels (B,) and domains (B,), on the device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled images."""

    def run_epoch(self) -> None:
        """`forward_backward(batch_x, batch_u)` for pairs of batches; the loader that ends first starts again.

        The number of pairs is that of batches of `train_loader_x`, of `train_loader_u` or of the shorter
        one, as TRAIN.COUNT_ITER says.

        Raises:
            ValueError: no unlabelled images, or an unknown COUNT_ITER.
        """
        if self.train_loader_u is None:
            raise ValueError(
                f"{type(self).__name__} needs unlabelled images, data set {self.cfg.DATASET.NAME} has none"
            )
        num_x, num_u = len(self.train_loader_x), len(self.train_loader_u)
        counts = {"train_x": num_x, "train_u": num_u, "smaller_one": min(num_x, num_u)}
        if self.cfg.TRAIN.COUNT_ITER not in counts:
            raise ValueError(f"TRAIN.COUNT_ITER is '{self.cfg.TRAIN.COUNT_ITER}'. Choose one of {', '.join(counts)}")
        num_batches = counts[self.cfg.TRAIN.COUNT_ITER]
        pairs = zip(_cycle(self.train_loader_x), _cycle(self.train_loader_u), strict=False)
        self._run_batches(islice(pairs, num_batches), num_batches, lambda pair: self.forward_backward(*pair))

    def forward_backward(self, batch_x: dict[str, Any], batch_u: dict[str, Any]) -> dict[str, float] | None:
        """One optimisation step; returns figures for the log."""
        raise NotImplementedError

    def parse_batch_train(
        self, batch_x: dict[str, Any], batch_u: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labelled images, their labels and domains, and unlabelled images, on the device."""
        labelled = (batch_x[key].to(self.device) for key in ("img", "label", "domain"))
        return *labelled, batch_u["img"].to(self.device)


def _cycle(loader: Iterable) -> Iterator:
    while True:
        yield from loader


def _duration(seconds: float) -> str:
    """H:MM:SS."""
    return str(datetime.timedelta(seconds=round(seconds)))
