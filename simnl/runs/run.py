"""Carry out a run. `run_one` is the whole way from a config to a record, in this order:

1. The identity of the run is computed from the config, once (`simnl.runs.identity`).
2. Shifted data sets are checked and the folder of the run is taken, so that neither fails after a long training.
3. A sweep, where the config has one, trains each of its settings and chooses one (`simnl.runs.sweep`). Under PROTOCOL
   held-shot, a training without one image per class then chooses on these images (`simnl.runs.held_shot`).
4. The trainer of the method is built, trains, selects and tests (`simnl.fewshot.trainer`).
5. The trained head is tested on shifted data sets and, in a head for their names, on new classes
   (`simnl.runs.targets`).
6. The logits of all tests are written (`simnl.runs.logits`), then the record (`simnl.runs.recording`,
   `simnl.runs.record`).

The config itself comes from `simnl.runs.config`: `tools/train.py` makes it from Dassl's command line, and
`simnl.studies.cells` for all other commands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from yacs.config import CfgNode as CN

from dassl.engine import build_trainer
from dassl.utils import set_random_seed
from simnl.clip.arithmetic import set_arithmetic
from simnl.escaping import printable
from simnl.fewshot.capabilities import check_choices
from simnl.files import make_cache
from simnl.plugins import load_plugins
from simnl.runs.config import relevant
from simnl.runs.flips import record_flips
from simnl.runs.held_shot import choose_on_held_shot, without_test
from simnl.runs.hparams import write_hparams
from simnl.runs.identity import RunIdentity
from simnl.runs.logits import Keeper, keep_logits
from simnl.runs.record import with_earlier, write_record
from simnl.runs.recording import make_record
from simnl.runs.stored_config import take_folder, write_config
from simnl.runs.sweep import sweep
from simnl.runs.target_configs import named_targets
from simnl.runs.targets import check_targets, checked_targets, test_on_all

log = logging.getLogger(__name__)


def run_one(
    cfg: CN,
    identity: RunIdentity | None = None,
    *,
    eval_only: bool = False,
    model_dir: str = "",
    load_epoch: int = 0,
    train: bool = True,
) -> dict | None:
    """Train, select and test as the config says.

    Args:
        cfg: frozen, with OUTPUT_DIR, SEED and TRAINER.NAME set.
        identity: the identity of the run if the caller knows it; else it is computed here.
        eval_only: True to learn nothing, and to test the head in `model_dir`, or the engine's checkpoint of
            `load_epoch` there.
        train: False to build everything and then stop.

    Returns:
        The run record (also written to OUTPUT_DIR/result.json unless eval_only), or None if nothing was
        tested (`train` False, or TEST.NO_TEST).

    Raises:
        ValueError: OUTPUT_DIR holds files of another run, or a target does not fit. This is checked before anything is
            trained.
    """
    start = time.perf_counter()
    check_choices(cfg)
    identity = identity or RunIdentity.of(cfg)
    make_cache(cfg.STORE.ROOT)
    print("\n".join(printable(f"{key}: {value}") for key, value in sorted(relevant(cfg).items())))
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.cuda.reset_peak_memory_stats()
    if eval_only:
        trainer = seeded_trainer(cfg)
        trainer.load_model(model_dir, epoch=load_epoch or None)
        trainer.test()
        return make_record(cfg, identity, trainer, time.perf_counter() - start)
    if not train:
        seeded_trainer(cfg)
        return None
    targets = checked_targets(cfg)
    is_written = take_folder(cfg, identity)
    chosen, hparams, choice = chosen_by_trainings(cfg, targets)
    trainer = seeded_trainer(chosen, targets)
    trainer.settled = hparams
    if chosen is not cfg or not is_written:
        write_config(chosen)
    keeper = Keeper.of_test(trainer)
    trainer.train()
    if cfg.TEST.NO_TEST:
        return None
    accuracies = test_on_all(trainer, named_targets(cfg), keeper, targets)
    record = make_record(cfg, identity, trainer, time.perf_counter() - start)
    record |= {"targets": accuracies, **choice, "num_settings": max(choice["num_settings"], record["num_settings"])}
    return write_results(chosen, trainer, keeper, record)


def write_results(cfg: CN, trainer, keeper: Keeper, record: dict) -> dict:
    """Write the files of a tested run, the record last. Returns the record as it was written."""
    record = with_earlier(cfg.OUTPUT_DIR, record, resumed=trainer.start_epoch > 0)
    record |= {"logits": keep_logits(trainer, keeper, record), "label_flips": record_flips(trainer)}
    write_hparams(cfg, record)
    write_record(cfg.OUTPUT_DIR, record)
    return record


def chosen_by_trainings(cfg: CN, targets: dict, build: Callable[[CN], Any] = build_trainer) -> tuple[CN, dict, dict]:
    """Choose by trainings before that of the run: settings of a sweep, and hyper-parameters under PROTOCOL held-shot.

    Returns:
        The config to run, the hyper-parameters, and the entries of the record about the choice.
    """
    chosen, swept, tried = sweep(cfg, lambda one: validation_score(one, targets, build))
    held = choose_on_held_shot(chosen, lambda one: seeded_trainer(one, targets, build))
    choice = {"swept": swept, "num_settings": max(tried, held.get("num_settings", 0))}
    return chosen, held.get("hparams", {}), choice | ({"num_val": held["num_val"]} if held else {})


def seeded_trainer(cfg: CN, targets: dict | None = None, build: Callable[[CN], Any] = build_trainer):
    """The trainer of a config. The arithmetic is set as the config asks, and the global generators are seeded.

    Args:
        targets: data sets on which the trainer will also be tested.
        build: a function that makes the trainer; by default the engine makes it from the registry.

    Raises:
        ValueError: a target does not fit the classes of the run.
    """
    load_plugins()  # the config may have been made without importing the methods
    set_arithmetic(cfg.MATMUL, cfg.USE_CUDA and torch.cuda.is_available())
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    trainer = build(cfg)
    check_targets(trainer.dm.dataset, targets or {})
    return trainer


def validation_score(cfg: CN, targets: dict, build: Callable[[CN], Any] = build_trainer) -> tuple[float | None, int]:
    """Train without a test. Returns the accuracy on the selection images in percent, and how many settings it tried."""
    trainer = seeded_trainer(without_test(cfg, cfg.OUTPUT_DIR), targets, build)
    if not trainer.num_val:
        return None, 0
    try:
        trainer.train()
    except FloatingPointError:
        trainer.close_writer()  # its folder is deleted when the setting is done
        log.warning("A setting of the sweep diverged: its loss became infinite or NaN. The setting counts as 0 %%.")
        return 0.0, trainer.num_settings
    return trainer.validation_accuracy(), trainer.num_settings
