"""What a run record must hold: its keys, their types, and the ranges of its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import TypeGuard

Kind = type | tuple[type, ...]

REQUIRED: dict[str, Kind] = {
    "schema": int, "method": str, "dataset": str, "shots": int, "seed": int, "backbone": str, "preset": str,
    "protocol": str, "config_hash": str, "accuracy": float,
}  # fmt: skip
# Optional keys, which tables, plots and the report use, and the types that they must have.
NUMBER = (int, float)
OPTIONAL: dict[str, Kind] = {
    "targets": dict, "options": dict, "prompts": list, "seconds": dict, "peak_memory_mb": dict, "views": dict,
    "hparams": dict, "swept": dict, "environment": dict, "val_accuracy_per_epoch": list, "best_epoch": (NoneType, int),
    "weights": str, "weights_fingerprint": str, "split_hash": str, "split_origin": str, "subsample_classes": str,
    "arch": str, "device": str, "num_classes": int, "num_train": int, "num_val": int, "num_test": int,
    "num_settings": int, "trainable_parameters": int, "encoded_images": int, "label_noise": NUMBER,
    "images_per_class": (NoneType, list), "logits": dict, "label_flips": (NoneType, dict), "imported": dict,
    "inference": str,
}  # fmt: skip
# Keys that must hold numbers, by unit: one number, a list of numbers, or an object of numbers by name.
PERCENT = ("targets", "per_class", "val_accuracy_per_epoch")
AMOUNTS = ("seconds", "peak_memory_mb", "images_per_class")
COUNTS = tuple(key for key, kind in {**REQUIRED, **OPTIONAL}.items() if kind is int and key != "seed")
LARGEST = 2**63  # the integers of a record are smaller


def problems(record: object, schemas: Sequence[int]) -> list[str]:
    """The problems of a record, in words; empty if it is sound.

    Args:
        record: a record that was read or will be written.
        schemas: the known schemas; the first one is that of new records.
    """
    if not isinstance(record, dict):
        return ["it is not a json object"]
    wrong = [f"'{key}' is missing" for key in REQUIRED if key not in record]
    wrong += [
        f"'{key}' is {_shown(record[key])}, expected {kind[-1].__name__ if isinstance(kind, tuple) else kind.__name__}"
        for key, kind in {**REQUIRED, **OPTIONAL}.items()
        if key in record and not _is(record[key], kind)
    ]
    if wrong:
        return wrong
    if record["schema"] not in schemas:
        return [f"its schema is {_shown(record['schema'])}, and this program writes schema {schemas[0]}"]
    wrong = [f"'{place}' is {_shown(value)}, {why}" for place, value, why in _numbers(record) if why]
    if not isinstance(record.get("environment", {}).get("packages", {}), dict):
        wrong.append("'environment.packages' is not a dict")
    return wrong


def percent_problem(value: object) -> str:
    """Why a value is not an accuracy in percent; empty if it is one."""
    if not _is_finite(value):
        return "not a finite number"
    return "" if 0 <= value <= 100 else "not a percentage: it must be from 0 to 100"


def _amount_problem(value: object) -> str:
    if not _is_finite(value):
        return "not a finite number"
    return "" if 0 <= value < LARGEST else "which no run can have"


def _numbers(record: dict) -> Iterator[tuple[str, object, str]]:
    """The place and the value of everything that must be a number, and what is wrong with it."""
    yield "accuracy", record["accuracy"], percent_problem(record["accuracy"])
    yield "seed", record["seed"], "" if abs(record["seed"]) < LARGEST else "which no run can have"
    for key in COUNTS:
        yield key, record.get(key, 0), _amount_problem(record.get(key, 0))
    for keys, problem in ((PERCENT, percent_problem), (AMOUNTS, _amount_problem)):
        for key in keys:
            content = record.get(key) or {}
            content = content if isinstance(content, dict | list) else [content]
            for name, value in content.items() if isinstance(content, dict) else enumerate(content, 1):
                yield f"{key}.{name}", value, problem(value)
    noise = record.get("label_noise", 0)
    yield "label_noise", noise, "" if _is_finite(noise) and 0 <= noise <= 1 else "no probability"


def _is(value: object, kind: Kind) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    if not isinstance(value, NUMBER) or isinstance(value, bool):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < LARGEST else "a number of many digits"
    return text if len(text) <= 60 else f"{text[:60]}..."
