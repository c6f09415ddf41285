"""The loop over epochs, and what is done to all registered models together."""

from __future__ import annotations

import math
import os.path as osp
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dassl.utils import check_availability, load_checkpoint, save_checkpoint, tolist_if_not
from dassl.utils.checkpoint import (
    BEST,
    find_checkpoints,
    get_random_state,
    read_best_result,
    restore_checkpoint,
    set_random_state,
)
from dassl.utils.errors import CheckError

__all__ = ["TrainerBase"]

Names = str | list[str] | None  # of registered models; None stands for all


class TrainerBase:
    """Registered models, each with its optimiser and schedule, and the loop `train`.

    The loop calls `before_train`, then for each epoch `before_epoch`, `run_epoch`, `after_epoch`, then
    `after_train`. A subclass implements what it needs of these. It reads `epoch` (from 0), `start_epoch`,
    `max_epoch`, and within an epoch `batch_idx` and `num_batches`.
    """

    best_result: float = -np.inf  # highest validation result so far

    def __init__(self):
        # Modules, optimisers and schedules, each of which may be None; which are not is known to who registered them.
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._optims: OrderedDict[str, Any] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer: Any = None

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: Optimizer | None = None,
        sched: LRScheduler | None = None,
    ) -> None:
        """Put a model under the care of the trainer: its mode, its checkpoints, its learning rate.

        Args:
            name: the folder of its checkpoints.
            model: saved and loaded with its whole state dict.
            optim: its optimiser, if it learns.
            sched: its schedule; the trainer never steps it by itself, `update_lr` does.

        Raises:
            AttributeError: the trainer's constructor has not run yet.
            CheckError: the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("Cannot register a model before super().__init__() is called")
        if name in self._models:
            raise CheckError(f"A model named '{name}' is registered already. Choose another name")
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names: Names = None) -> list[str]:
        """All registered names, or `names` as a list after a check.

        Raises:
            ValueError: a name is not registered.
        """
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            check_availability(name, list(self._models))
        return names

    # ------------------------------------------------------------------ checkpoints

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Save every registered model to `<directory>/<name>/<model_name>`.

        Args:
            epoch: the epoch just done, from 0; files count from 1.
            directory: usually OUTPUT_DIR.
            is_best: also as `model-best.pth.tar`.
            val_result: stored with it.
            model_name: file name; empty: `model.pth.tar-<epoch + 1>`.
        """
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "optimizer": optim.state_dict() if optim is not None else None,
                "scheduler": sched.state_dict() if sched is not None else None,
                "val_result": _plain(val_result),
                "best_result": _plain(self.best_result),
                "random_state": get_random_state(),
            }
            save_checkpoint(state, osp.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory: str) -> int:
        """Load the newest checkpoint of a run: models, optimisers, schedules, best result, random generators.

        Returns:
            The epoch to start with; 0 if there is no checkpoint of all registered models.
        """
        found = find_checkpoints(directory, self.get_model_names())
        if found is None:
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        start_epoch = 0
        for name, (fpath, checkpoint) in found.items():
            print(f'Loading checkpoint from "{fpath}"')
            start_epoch = restore_checkpoint(checkpoint, self._models[name], self._optims[name], self._scheds[name])
            print(f"Previous epoch: {start_epoch}")
        if "best_result" in checkpoint:
            self.best_result = checkpoint["best_result"]
        else:
            self.best_result = read_best_result(osp.join(directory, name), start_epoch)
        if "random_state" in checkpoint:
            set_random_state(checkpoint["random_state"])
        return start_epoch

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the weights of all registered models.

        Args:
            directory: a run's OUTPUT_DIR; empty or None: nothing is loaded.
            epoch: which epoch's, counted from 1; None: the best one's.

        Raises:
            FileNotFoundError: there is no such checkpoint.
        """
        if not directory:
            print("Note that load_model() is skipped as no directory is given")
            return
        file = BEST if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            fpath = osp.join(directory, name, file)
            if not osp.exists(fpath):
                raise FileNotFoundError(
                    f'No model at "{fpath}". If the run did not keep the best one, name the epoch to load'
                )
            checkpoint = load_checkpoint(fpath)
            result = checkpoint.get("val_result")
            shown = "none" if result is None else f"{result:.1f}"
            print(f'Load {name} from "{fpath}" (epoch={checkpoint["epoch"]}, val_result={shown})')
            self._models[name].load_state_dict(checkpoint["state_dict"])

    # ------------------------------------------------------------------ all models at once

    def set_model_mode(self, mode: str = "train", names: Names = None) -> None:
        """Set models to training (`train`) or evaluation (`test` or `eval`).

        Raises:
            KeyError: another mode.
        """
        if mode not in ("train", "test", "eval"):
            raise KeyError(f"Mode '{mode}' is unknown. Choose train, test or eval")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: Names = None) -> None:
        """Step the schedules. Trainers call it in the last batch of an epoch; the loop does not."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def detect_anomaly(self, loss: Tensor) -> None:
        """Check a loss.

        Raises:
            FloatingPointError: it is infinite or NaN.
        """
        if not (math.isfinite(loss.item()) if loss.numel() == 1 else torch.isfinite(loss).all()):
            raise FloatingPointError("Loss is infinite or NaN!")

    def model_zero_grad(self, names: Names = None) -> None:
        """Forget gradients."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: Tensor) -> None:
        """Check a loss, and compute gradients."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: Names = None) -> None:
        """Step optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: Names = None) -> None:
        """One step down a loss."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def init_writer(self, log_dir: str) -> None:
        """Open a TensorBoard log; without the package, warn and go on without."""
        if self._writer is not None:
            return
        try:
            from dassl.utils.event_log import EventLog
        except ImportError as error:
            warnings.warn(f"No TensorBoard log is written: {error}", stacklevel=2)
            return
        print(f"Initialize tensorboard (log_dir={log_dir})")
        self._writer = EventLog(log_dir)

    def close_writer(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Add a value to the TensorBoard log, if one is open."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    # ------------------------------------------------------------------ loop and hooks

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Train from epoch `start_epoch` (which `before_train` may change) up to `max_epoch`."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020 - trainers read self.epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Called first."""

    def after_train(self) -> None:
        """Called last."""

    def before_epoch(self) -> None:
        """Called before each epoch."""

    def after_epoch(self) -> None:
        """Called after each epoch."""

    def run_epoch(self) -> None:
        """Train for an epoch."""
        raise NotImplementedError

    def test(self) -> float:
        """Evaluate; returns the main figure."""
        raise NotImplementedError

    def parse_batch_train(self, batch: dict[str, Any]) -> Sequence[Any]:
        """What `forward_backward` needs from a batch, on the device."""
        raise NotImplementedError

    def parse_batch_test(self, batch: dict[str, Any]) -> Sequence[Any]:
        """Input and label from a batch, on the device."""
        raise NotImplementedError

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float] | None:
        """One optimisation step; returns figures for the log."""
        raise NotImplementedError

    def model_inference(self, input: Any) -> Any:
        """Input -> output for the evaluator."""
        raise NotImplementedError


def _plain(value: Any) -> float | None:
    """A Python float: a numpy scalar in a checkpoint could not be read back without unpickling."""
    return None if value is None else float(value)
