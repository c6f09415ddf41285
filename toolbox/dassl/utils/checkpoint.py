"""Checkpoint files: written atomically, read without running code from them."""

from __future__ import annotations

import collections
import os.path as osp
import pickle
import random
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from .plain import to_plain
from .resuming import changed_settings, restore_schedule, settings_of
from .tools import atomic_write, warn_in_log

__all__ = ["load_checkpoint", "resume_from_checkpoint", "save_checkpoint"]

POINTER = "checkpoint"  # text file with the name of the checkpoint written last
BEST = "model-best.pth.tar"
# What torch.load raises for files that are cut off or hold something else.
DAMAGE = (
    AttributeError, EOFError, LookupError, OverflowError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def save_checkpoint(
    state: dict[str, Any],
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> str:
    """Write `<save_dir>/<model_name>`, then the pointer file `<save_dir>/checkpoint` that names it.

    Each of the files is replaced atomically, the pointer last, so an interrupted save leaves the previous
    state.

    Args:
        state: at least `state_dict` and `epoch` (epochs done). It is saved as `plain.to_plain` makes it, tensors and
            plain Python values only, since `load_checkpoint` reads nothing else.
        save_dir: folder, made if missing.
        is_best: also copy to `model-best.pth.tar`.
        remove_module_from_keys: strip the prefix `module.` that DataParallel puts before parameter names.
        model_name: file name; empty: `model.pth.tar-<epoch>`.

    Returns:
        The path.

    Raises:
        TypeError: the state holds what is neither plain nor can be made so; the text names the key.
    """
    if remove_module_from_keys:
        state = {**state, "state_dict": _without_module(state["state_dict"])}
    state = to_plain(state)
    fpath = osp.join(save_dir, model_name or f"model.pth.tar-{state['epoch']}")
    with atomic_write(fpath) as file:
        torch.save(state, file)
    print(f"Checkpoint saved to {fpath}")
    with atomic_write(osp.join(save_dir, POINTER), "w") as file:
        file.write(f"{osp.basename(fpath)}\n")
    best = osp.join(save_dir, BEST)
    if is_best and fpath != best:
        with open(fpath, "rb") as source, atomic_write(best) as file:
            shutil.copyfileobj(source, file)
        print(f'Best checkpoint saved to "{best}"')
    return fpath


def load_checkpoint(fpath: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without unpickling arbitrary objects.

    The zip archives that `torch.save` writes hold a CRC-32 of each entry, which `torch.load` does not look at. It is
    checked here, so a file with a flipped bit is refused. Files of the format before archives hold none.

    Upstream's files hold a scheduler and an optimiser object where a warm-up was used. Those of the classes
    that `build_optimizer` and `build_lr_scheduler` offer are read as plain attributes; no object is made.

    Raises:
        ValueError: `fpath` is None, or the file is damaged, or it holds objects of other classes.
        FileNotFoundError: no such file.
    """
    if fpath is None:
        raise ValueError("File path is None")
    if not osp.exists(fpath):
        raise FileNotFoundError(f'File is not found at "{fpath}"')
    try:
        _check_archive(fpath)
        with torch.serialization.safe_globals(_LEGACY):
            checkpoint = torch.load(fpath, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{fpath} was not loaded: it is no checkpoint, or holds objects other than tensors and plain "
            f"values, which could run code when read ({named[1] if named else 'unknown'}). Save state dicts."
        ) from error
    except DAMAGE as error:
        raise ValueError(f"{fpath} is damaged or is no checkpoint: {error}") from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get("scheduler"), dict):
        checkpoint["scheduler"] = _pure_scheduler_state(checkpoint["scheduler"])
    return checkpoint


def _check_archive(fpath: str) -> None:
    """Compare each entry of a zip archive with its check sum; other files are let through.

    Raises:
        ValueError, zipfile.BadZipFile and others of DAMAGE: the archive is damaged.
    """
    with open(fpath, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with zipfile.ZipFile(fpath) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("two entries have one name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("torch compresses no entry")
        wrong = archive.testzip()
        if wrong is not None:
            raise ValueError(f"the check sum of its entry {wrong} is wrong")


def resume_from_checkpoint(
    fdir: str,
    model: nn.Module,
    optimizer: optim.Optimizer | None = None,
    scheduler: lr_scheduler.LRScheduler | None = None,
) -> int:
    """Load the checkpoint that `<fdir>/checkpoint` names (or `fdir` itself, if a file) into the objects.

    Returns:
        The number of epochs done, which is the epoch to start with.
    """
    fpath = fdir if osp.isfile(fdir) else osp.join(fdir, read_pointer(fdir))
    print(f'Loading checkpoint from "{fpath}"')
    return restore_checkpoint(load_checkpoint(fpath), model, optimizer, scheduler)


def read_pointer(fdir: str) -> str:
    """File name in `<fdir>/checkpoint`.

    Raises:
        FileNotFoundError: no such file; ValueError: it is no text.
    """
    fpath = osp.join(fdir, POINTER)
    with open(fpath, encoding="utf-8") as file:
        try:
            return file.readline().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{fpath} is damaged: it must hold the name of a checkpoint.") from error


def find_checkpoints(directory: str, names: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]] | None:
    """The newest epoch that all models of a run have on disk.

    Args:
        directory: the run's folder.
        names: the models' names, which are folders in it.

    Returns:
        Model name -> (path, content) of its checkpoint; None where the run has not saved all its models yet.
        A run that was killed between saving two models goes back to the epoch before.

    Raises:
        FileNotFoundError: a pointer file names a checkpoint that is not there.
    """
    folders = {name: osp.join(directory, name) for name in names}
    if not folders or not all(osp.isfile(osp.join(folder, POINTER)) for folder in folders.values()):
        return None
    found = {name: _newest(folder) for name, folder in folders.items()}
    common = min(checkpoint["epoch"] for _, checkpoint in found.values())
    for name, (_, checkpoint) in found.items():
        if checkpoint["epoch"] != common:
            fpath = osp.join(folders[name], f"model.pth.tar-{common}")
            if not osp.exists(fpath):
                print(f"The models in {directory} are of different epochs, and {fpath} is not there")
                return None
            found[name] = fpath, load_checkpoint(fpath)
    return found


def _newest(folder: str) -> tuple[str, dict[str, Any]]:
    fpath = osp.join(folder, read_pointer(folder))
    if not osp.isfile(fpath):
        raise FileNotFoundError(
            f"{osp.join(folder, POINTER)} names {osp.basename(fpath)}, which is not there. Put it back, "
            f"or delete {folder} to train from scratch"
        )
    checkpoint = load_checkpoint(fpath)
    if osp.basename(fpath) == BEST:
        epoch = checkpoint["epoch"]
        print(f"Note: the newest checkpoint is that of the best epoch, {epoch}; training goes on from there")
    return fpath, checkpoint


def restore_checkpoint(
    checkpoint: dict[str, Any],
    model: nn.Module,
    optimizer: optim.Optimizer | None = None,
    scheduler: lr_scheduler.LRScheduler | None = None,
) -> int:
    """Put what `load_checkpoint` gave into model (strictly), optimiser, scheduler; returns epochs done.

    As in upstream, the settings of optimiser and schedule come from the checkpoint. A warning names those that are
    configured otherwise.
    """
    configured = settings_of(optimizer, scheduler)
    model.load_state_dict(checkpoint["state_dict"])
    print("Loaded model weights")
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        print("Loaded optimizer")
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        restore_schedule(scheduler, checkpoint["scheduler"])
        print("Loaded scheduler")
    if changes := changed_settings(configured, settings_of(optimizer, scheduler)):
        rate = f"; the learning rate is {optimizer.param_groups[0]['lr']:g} now" if optimizer is not None else ""
        warn_in_log(
            f"The run goes on with the settings of its checkpoint, not with the configured ones: {changes}{rate}. To "
            "train with the configured ones, use another OUTPUT_DIR."
        )
    return checkpoint["epoch"]


def read_best_result(fdir: str, start_epoch: int) -> float:
    """Best validation result up to `start_epoch` by `<fdir>/model-best.pth.tar`; minus infinity without that.

    For runs whose checkpoints do not hold it, as upstream's.
    """
    fpath = osp.join(fdir, BEST)
    if osp.exists(fpath):
        checkpoint = load_checkpoint(fpath)
        if checkpoint["epoch"] <= start_epoch and checkpoint.get("val_result") is not None:
            return checkpoint["val_result"]
    return -np.inf


def get_random_state() -> dict[str, Any]:
    """State of the random generators of Python, numpy and torch, as plain values and tensors."""
    numpy_state: Any = np.random.get_state()
    name, keys, *rest = numpy_state
    state = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back to a state of `get_random_state`, for the GPUs that are still there."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    for device, generator in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def _without_module(state_dict: dict[str, Any]) -> dict[str, Any]:
    return collections.OrderedDict((key.removeprefix("module."), value) for key, value in state_dict.items())


class _Record:
    """Stands for an object in upstream's files: keeps its attributes, and does nothing else."""


def _plain_dict(*factory: Any) -> dict:
    return {}


# What upstream's files hold where a warm-up was used: the successor, and through it the optimiser.
_LEGACY: list[Any] = [
    *((_Record, f"torch.optim.lr_scheduler.{name}") for name in ("StepLR", "MultiStepLR", "CosineAnnealingLR")),
    (_Record, "torch.optim.sgd.SGD"),
    (_Record, "torch.optim.adam.Adam"),
    (_Record, "torch.optim.adamw.AdamW"),
    (_Record, "torch.optim.rmsprop.RMSprop"),
    (_Record, "dassl.optim.radam.RAdam"),
    (_plain_dict, "collections.defaultdict"),
    dict,
]


def _pure_scheduler_state(state: dict[str, Any]) -> dict[str, Any]:
    """Replace the `successor` object in upstream's warm-up state by its state dict.

    The object brings its own copy of the optimiser. Keeping it would step that copy, and the live rate
    would stay for ever what it was at the time of resuming.
    """
    successor = state.get("successor")
    if isinstance(successor, _Record):
        state = {**state, "successor": {k: v for k, v in vars(successor).items() if k != "optimizer"}}
    return state
