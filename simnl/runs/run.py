"""Carry out runs: each has one config, one folder and one record."""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode as CN

from dassl.engine import build_trainer
from dassl.utils import set_random_seed, setup_logger
from simnl.clip.arithmetic import set_arithmetic
from simnl.data.own_images import folder_of
from simnl.errors import DISK_FULL
from simnl.escaping import keep_logs_printable, printable
from simnl.files import make_cache
from simnl.runs.config import relevant
from simnl.runs.hparams import write_hparams
from simnl.runs.identity import config_hash
from simnl.runs.record import OWN_IMAGES, SCHEMA, environment, own_images_name, with_earlier, write_record
from simnl.runs.stored import take_folder, write_config
from simnl.runs.sweep import sweep, with_settings
from simnl.runs.targets import check_targets, checked_targets, test_on

log = logging.getLogger(__name__)

OWN_PACKAGES = ("simnl", "trainers", "datasets", "dassl")


class CurrentStdout:
    """A stream for logging handlers that follows `sys.stdout`, so that log lines reach the run's log.txt too."""

    def write(self, text: str) -> int:
        """Write to whatever is standard output now."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush whatever is standard output now."""
        sys.stdout.flush()


class Once(logging.Filter):
    """Lets each message through once: the runs of several seeds warn of the same things."""

    def __init__(self):
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a message that came before."""
        text = record.getMessage()
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new


def configure_logging(quiet: bool = False) -> None:
    """Plain log lines of this program on standard output (and so in log.txt); of others only warnings.

    Args:
        quiet: standard output goes to log.txt alone, so warnings are shown on standard error too, each once.
    """
    keep_logs_printable()
    threading.excepthook = thread_failed
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=CurrentStdout(), force=True)
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
    if quiet:
        logging.getLogger().handlers[0].addFilter(lambda record: sys.stdout is not sys.__stdout__)  # within a run only
        console = logging.StreamHandler(sys.stderr)
        console.setLevel(logging.WARNING)
        console.setFormatter(logging.Formatter("Note: %(message)s"))
        console.addFilter(Once())
        logging.getLogger().addHandler(console)


def thread_failed(args) -> None:
    """Show what ended a thread, but for a full disk: TensorBoard's writer raises it again where the run goes on."""
    if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in DISK_FULL):
        threading.__excepthook__(args)


@contextmanager
def run_log(folder: str, quiet: bool) -> Iterator[None]:
    """Tee standard output to the run's log.txt; `quiet`: to the file only, as the traceback of a failure always is."""
    console = sys.stdout
    tee: Any = None  # the engine's logger
    with open(os.devnull, "w") as nowhere:
        if quiet:
            sys.stdout = nowhere
        try:
            setup_logger(folder)
            tee = sys.stdout
            yield
        except Exception as error:
            if tee is not None:
                with suppress(OSError):  # a full disk has no room for it
                    traceback.print_exc(file=tee.file)
            full = full_disk(error)
            if full is not None:
                raise OSError(full.errno, full.strerror, full.filename or folder) from error
            raise
        finally:
            sys.stdout = console
            if tee is not None:
                tee.console = nowhere  # upstream's logger closes its console too
                tee.close()


def full_disk(error: BaseException | None) -> OSError | None:
    """The system's error where a full disk is behind an error that does not say so: torch's, or one without a path."""
    named = isinstance(error, OSError) and (error.filename or error.errno is None)
    if named or not isinstance(error, OSError | RuntimeError):
        return None
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def run_one(
    cfg: CN, *, eval_only: bool = False, model_dir: str = "", load_epoch: int = 0, train: bool = True
) -> dict | None:
    """Train, select and test as the config says.

    Args:
        cfg: frozen, with OUTPUT_DIR, SEED and TRAINER.NAME set.
        eval_only: test the head in `model_dir` (the engine's checkpoint of `load_epoch` if given); nothing is learned.
        train: False: build everything, then stop.

    Returns:
        The run record (also written to OUTPUT_DIR/result.json unless eval_only), or None if nothing was
        tested (`train` False, or TEST.NO_TEST).

    Raises:
        ValueError: OUTPUT_DIR holds what another run left, or a target does not fit; before anything is trained.
    """
    start = time.perf_counter()
    make_cache(cfg.STORE.ROOT)
    print("\n".join(printable(f"{key}: {value}") for key, value in sorted(relevant(cfg).items())))
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.cuda.reset_peak_memory_stats()
    if eval_only:
        trainer = seeded_trainer(cfg)
        trainer.load_model(model_dir, epoch=load_epoch or None)
        trainer.test()
        return make_record(cfg, trainer, time.perf_counter() - start)
    if not train:
        seeded_trainer(cfg)
        return None
    targets = checked_targets(cfg)
    take_folder(cfg)
    chosen, settings, tried = sweep(cfg, lambda one: validation_score(one, targets))
    trainer = seeded_trainer(chosen, targets)
    write_config(chosen)
    trainer.train()
    if cfg.TEST.NO_TEST:
        return None
    accuracies = {name: test_on(trainer, name, dataset) for name, dataset in targets.items()}
    record = make_record(cfg, trainer, time.perf_counter() - start) | {"targets": accuracies, "swept": settings}
    record["num_settings"] = max(tried, record["num_settings"])
    record = with_earlier(cfg.OUTPUT_DIR, record, resumed=trainer.start_epoch > 0)
    write_hparams(chosen, record)
    write_record(cfg.OUTPUT_DIR, record)
    return record


def seeded_trainer(cfg: CN, targets: dict | None = None, build: Callable[[CN], Any] = build_trainer):
    """The trainer of a config, with the arithmetic that it asks for and the global generators set to its seed.

    Args:
        targets: data sets on which it will be tested too; ValueError where they do not fit its classes.
        build: makes the trainer; by default the engine does, from the registry.
    """
    set_arithmetic(cfg.MATMUL, cfg.USE_CUDA and torch.cuda.is_available())
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    trainer = build(cfg)
    check_targets(trainer.dm.dataset, targets or {})
    return trainer


def validation_score(cfg: CN, targets: dict, build: Callable[[CN], Any] = build_trainer) -> tuple[float | None, int]:
    """Train without a test; (accuracy in percent on the selection images, number of settings that were tried)."""
    trainer = seeded_trainer(with_settings(cfg, {"TEST.NO_TEST": True}, cfg.OUTPUT_DIR), targets, build)
    if not trainer.num_val:
        return None, 0
    try:
        trainer.train()
    except FloatingPointError:
        trainer.close_writer()  # its folder goes when the setting is done
        log.warning("A setting of the sweep diverged: the loss is infinite or NaN. It counts as 0 %%.")
        return 0.0, trainer.num_settings
    return trainer.validation_accuracy(), trainer.num_settings


def make_record(cfg: CN, trainer, seconds: float) -> dict:
    """What a finished run leaves behind; see docs/architecture.md for the meaning of each key."""
    dataset, selection = trainer.dm.dataset, getattr(trainer, "selection", None)
    return {
        "schema": SCHEMA,
        "method": cfg.TRAINER.NAME,
        "dataset": dataset_name(cfg),
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "arch": trainer.clip.arch,
        "weights": trainer.clip.weights,
        "weights_fingerprint": trainer.clip.fingerprint,
        "preset": cfg.PRESET,
        "protocol": cfg.PROTOCOL,
        "prompts": sorted(trainer.task.prompts),
        "views": {"kind": cfg.VIEWS.KIND, "cache": cfg.VIEWS.CACHE, "train": cfg.VIEWS.TRAIN},
        "split_hash": dataset.split_hash,
        "split_origin": dataset.split_origin,
        "subsample_classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "label_noise": cfg.DATASET.LABEL_NOISE,
        "config_hash": config_hash(cfg),
        "options": dict(cfg.OPTIONS),
        "accuracy": trainer.accuracy[cfg.TEST.SPLIT],
        "num_classes": trainer.num_classes,
        "num_train": len(trainer.support.labels) if trainer.support else 0,
        "images_per_class": images_per_class(dataset) if trainer.support else None,
        "num_val": trainer.num_val,
        "num_test": len(dataset.test),
        "hparams": dict(getattr(trainer.head, "hparams", {})),
        "num_settings": trainer.num_settings,
        "val_accuracy_per_epoch": selection.scores if selection else [],
        "best_epoch": selection.best_epoch + 1 if selection and selection.scores else None,
        "trainable_parameters": trainer.num_parameters,
        "encoded_images": trainer.store.encoded_images,
        "seconds": {**trainer.stopwatch.seconds, "total": seconds},
        "peak_memory_mb": peak_memory_mb(trainer.device),
        "device": str(trainer.device),
        "environment": environment(),
    }


def images_per_class(dataset) -> list[int]:
    """Training images of the class with the fewest, and of that with the most, by their true labels."""
    counts = Counter(getattr(dataset, "clean_labels", None) or [item.label for item in dataset.train_x]).values()
    return [min(counts), max(counts)]


def dataset_name(cfg: CN) -> str:
    """The name under which the data set stands in records and tables: its config's (CoOp's, e.g. `oxford_pets`), or
    `imagefolder-<folder>` for one's own images."""
    name = cfg.DATASET.CONFIG or cfg.DATASET.NAME
    is_own = name.lower() == OWN_IMAGES and cfg.DATASET.FOLDER
    return own_images_name(folder_of(cfg)) if is_own else name


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process, and peak GPU memory, in MB."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    peak = {"host": round(host, 1)}
    if device.type == "cuda":
        peak["gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak


def run_folder(output: str | Path, cfg: CN) -> Path:
    """output/<dataset>/<Trainer>/<backbone>_<K>shots/<config hash>/seed<S>."""
    shots = f"{cfg.MODEL.BACKBONE.NAME}_{cfg.DATASET.NUM_SHOTS}shots"
    return Path(output) / dataset_name(cfg) / cfg.TRAINER.NAME / shots / config_hash(cfg) / f"seed{cfg.SEED}"
