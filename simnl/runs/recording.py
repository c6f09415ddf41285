"""Make the record of a run from its trainer. `simnl.runs.record` writes and reads records."""

from __future__ import annotations

import resource
import sys
from collections import Counter

import torch
from yacs.config import CfgNode as CN

from simnl.runs.identity import RunIdentity
from simnl.runs.record import SCHEMA, environment


def make_record(cfg: CN, identity: RunIdentity, trainer, seconds: float) -> dict:
    """The record of a run whose trainer has been tested; docs/architecture.md explains the keys.

    Args:
        cfg: the run's config.
        identity: the identity of the run.
        trainer: a trainer that has trained, selected and tested.
        seconds: the seconds that the whole run took.
    """
    dataset, selection = trainer.dm.dataset, getattr(trainer, "selection", None)
    return {
        "schema": SCHEMA,
        "method": identity.method,
        "dataset": identity.dataset,
        "shots": identity.shots,
        "seed": identity.seed,
        "backbone": identity.backbone,
        "arch": trainer.clip.arch,
        "weights": trainer.clip.weights,
        "weights_fingerprint": trainer.clip.fingerprint,
        "preset": cfg.PRESET,
        "protocol": cfg.PROTOCOL,
        "inference": trainer.inference_of(trainer.node),
        "prompts": sorted(trainer.task.prompts),
        "views": {"kind": cfg.VIEWS.KIND, "cache": cfg.VIEWS.CACHE, "train": cfg.VIEWS.TRAIN},
        "split_hash": dataset.split_hash,
        "split_origin": dataset.split_origin,
        "subsample_classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "label_noise": cfg.DATASET.LABEL_NOISE,
        "config_hash": identity.config_hash,
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
    """How many training images the smallest and the largest class have, by their true labels."""
    counts = Counter(getattr(dataset, "clean_labels", None) or [item.label for item in dataset.train_x]).values()
    return [min(counts), max(counts)]


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process, and peak GPU memory, in MB."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    peak = {"host": round(host, 1)}
    if device.type == "cuda":
        peak["gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak
