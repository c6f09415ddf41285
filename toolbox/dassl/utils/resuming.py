"""Take over the state of a schedule, and tell what it brings that is configured otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["changed_settings", "restore_schedule", "settings_of"]

# What a schedule counts, as opposed to what it was made with.
RUNNING = {
    "_get_lr_called_within_step",
    "_initial_step",
    "_is_initial",
    "_last_lr",
    "_step_count",
    "last_epoch",
    "verbose",
}
OPTIONS = {
    "T_max": "OPTIM.MAX_EPOCH",
    "base_lrs": "OPTIM.LR",
    "cons_lr": "OPTIM.WARMUP_CONS_LR",
    "gamma": "OPTIM.GAMMA",
    "milestones": "OPTIM.STEPSIZE",
    "min_lr": "OPTIM.WARMUP_MIN_LR",
    "step_size": "OPTIM.STEPSIZE (where that is below 1: OPTIM.MAX_EPOCH)",
    "warmup_epoch": "OPTIM.WARMUP_EPOCH",
    "momentum": "OPTIM.MOMENTUM",
    "weight_decay": "OPTIM.WEIGHT_DECAY",
}


def settings_of(optimizer: Optimizer | None, scheduler: LRScheduler | None) -> dict[str, Any]:
    """What optimiser and schedule were made with: name of the setting -> value. Rates are among the schedule's."""
    settings: dict[str, Any] = {}
    if optimizer is not None:
        ignored = {"params", "initial_lr"} | ({"lr"} if scheduler is not None else set())
        for group in reversed(optimizer.param_groups):
            settings |= {key: value for key, value in group.items() if key not in ignored}
    while scheduler is not None:
        state = scheduler.state_dict()
        settings |= {key: value for key, value in state.items() if key not in RUNNING}
        successor = getattr(scheduler, "successor", None)
        settings.pop("successor", None)
        scheduler = successor if isinstance(successor, LRScheduler) else None
    return settings


def changed_settings(configured: dict[str, Any], restored: dict[str, Any]) -> str:
    """The settings that a checkpoint replaced, as text; empty if they agree.

    Args:
        configured: `settings_of` before the checkpoint was loaded; restored: after it.
    """
    changes = []
    for key in sorted(configured.keys() & restored.keys()):
        ours, theirs = configured[key], restored[key]
        if _equal(ours, theirs):
            continue
        if key == "T_max":
            changes.append(f"its schedule is for {theirs:g} epochs, while {OPTIONS[key]} is {ours:g}")
        else:
            changes.append(f"its {OPTIONS.get(key, key)} is {_shown(theirs)}, not {_shown(ours)}")
    return "; ".join(changes)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a.cpu(), b.cpu())
    return a == b


def _shown(value: Any) -> str:
    if isinstance(value, dict):  # milestones
        value = list(value)
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        value = value[0]
    return f"{value:g}" if isinstance(value, float) else str(value)


def restore_schedule(scheduler: LRScheduler, state: dict[str, Any]) -> None:
    """Load the state of a schedule.

    A schedule that is part of another, like the successor of a warm-up, stays the live one, bound to the live
    optimiser, and takes over its part of the state; also in plugins' own classes, which leave that to torch.

    Raises:
        ValueError: one of the two has a warm-up and the other has none.
    """
    if ("successor" in state) != hasattr(scheduler, "successor"):
        theirs, ours = ("a", "none") if "successor" in state else ("no", "one")
        raise ValueError(
            f"The checkpoint's schedule has {theirs} warm-up, and OPTIM.WARMUP_EPOCH asks for {ours}. Set it as it "
            "was, or train in another OUTPUT_DIR"
        )
    if type(scheduler).load_state_dict is not LRScheduler.load_state_dict:
        scheduler.load_state_dict(state)
        return
    parts = {key: part for key in state if isinstance(part := getattr(scheduler, key, None), LRScheduler)}
    scheduler.load_state_dict({key: value for key, value in state.items() if key not in parts})
    for key, part in parts.items():
        part.load_state_dict(state[key])
