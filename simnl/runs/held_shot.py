"""The protocol `held-shot`: hyper-parameters are chosen on one image per class of the support set itself.

A run with K shots first fits on K - 1 images of each class, and chooses on the images that were held out. Then it fits
on all K images with the chosen hyper-parameters. It looks at no image but the K shots.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from simnl.fewshot.head import SearchableHead
from simnl.fewshot.selection import may_search
from simnl.fewshot.trainer import VLTrainer
from simnl.runs.sweep import with_settings
from simnl.sealed import DamagedError, read_sealed, write_sealed

log = logging.getLogger(__name__)

FILE = "held_shot.json"
FOLDER = "held-shot"


def without_test(cfg: CN, folder: str) -> CN:
    """The config of a training without a test. Under this protocol, that training holds images out to choose on."""
    settings: dict[str, object] = {"TEST.NO_TEST": True, "SELECTION.HOLD_OUT": cfg.PROTOCOL == "held-shot"}
    return with_settings(cfg, settings, folder)


def choose_on_held_shot(cfg: CN, build: Callable[[CN], Any]) -> dict[str, Any]:
    """Choose hyper-parameters on held-out images, with which the run is then fitted.

    The choice is written to `held_shot.json`, so that an interrupted run need not make it again.

    Args:
        cfg: the run's config, with OUTPUT_DIR.
        build: a function that makes the trainer of a config.

    Returns:
        {"hparams", "num_val", "num_settings"}: the chosen values, the number of held-out images, and the number of
        settings that were tried. There is no `hparams` if the method chooses nothing after training.
    """
    if cfg.PROTOCOL != "held-shot":
        return {}
    folder = Path(cfg.OUTPUT_DIR)
    known = _read(folder / FILE)
    if known:
        return known
    trainer = build(with_settings(without_test(cfg, str(folder / FOLDER)), {"RESUME": ""}, str(folder / FOLDER)))
    if not chooses(trainer):
        trainer.close_writer()
        return {}
    log.info("Choosing on %d held-out images, one of each class.", trainer.num_val)
    trainer.train()
    hparams = chosen_by(trainer.head)  # a method with its own `fit` may choose nothing, e.g. WiSE-FT
    found = {"hparams": hparams, "num_val": trainer.num_val, "num_settings": trainer.num_settings} if hparams else {}
    if found:
        write_sealed(folder / FILE, found)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return found


def chosen_by(head: Any) -> dict[str, float]:
    """The hyper-parameters of a head, without those that follow from its own support images and are no choice."""
    own = getattr(head, "settled", ())
    return {name: value for name, value in getattr(head, "hparams", {}).items() if name not in own}


def chooses(trainer: Any) -> bool:
    """True if a method may choose something after its epochs, on images that the protocol allows."""
    has_own_fit = trainer.base_class().fit is not VLTrainer.fit
    return may_search(trainer) and (isinstance(trainer.head, SearchableHead) or has_own_fit)


def _read(path: Path) -> dict[str, Any]:
    """The choice of an interrupted run; empty if there is none, or if the file is damaged."""
    try:
        found = read_sealed(path)
    except FileNotFoundError:
        return {}
    except DamagedError as error:
        log.warning("%s is damaged: the file %s. Hyper-parameters are chosen again.", path, error.why)
        return {}
    numbers = isinstance(found, dict) and isinstance(found.get("hparams"), dict)
    if numbers and all(isinstance(found.get(key), int) for key in ("num_val", "num_settings")):
        return found
    log.warning("%s is damaged. Hyper-parameters are chosen again.", path)
    return {}
