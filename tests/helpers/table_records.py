"""Synthetic run records for the tests of tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from simnl.runs.record import FILE, SCHEMA, write_record
from simnl.sealed import KEY, seal

REPO = Path(__file__).resolve().parents[2]
T2 = 4.302652729911275  # t(0.975, 2), from a table
SPREAD = (-0.4, 0.1, 0.3)  # of three seeds around their mean
HALF = T2 * ((0.16 + 0.01 + 0.09) / 2) ** 0.5 / 3**0.5  # of their interval
BASE = {
    "schema": SCHEMA, "method": "SimNL", "dataset": "dtd", "shots": 16, "seed": 1, "backbone": "RN50",
    "arch": "RN50-quickgelu", "weights": "openai", "weights_fingerprint": "f" * 64, "preset": "repaired",
    "protocol": "fewshot-val", "prompts": ["cupl", "template"], "split_hash": "s", "split_origin": "standard",
    "subsample_classes": "all", "label_noise": 0.0, "config_hash": "", "options": {}, "accuracy": 60.0, "targets": {},
    "num_classes": 47, "num_test": 1692, "trainable_parameters": 1000, "num_settings": 1, "encoded_images": 10,
    "seconds": {"features": 1.0, "train": 2.0, "select": 3.0, "test": 4.0, "total": 10.0},
    "peak_memory_mb": {"host": 500.0}, "device": "cpu",
}  # fmt: skip


def record(**changes: object) -> dict:
    """A record that differs from BASE in some keys; its config hash follows from data set, method, shots, options."""
    one = {**BASE, **changes}
    parts = (one["dataset"], one["method"], one["shots"], sorted(one["options"].items()), one["label_noise"])
    one["config_hash"] = one["config_hash"] or f"{abs(hash(str(parts))):016x}"[:8]
    return one


def three(mean: float, **changes: object) -> list[dict]:
    """Records of seeds 1 to 3 with a given mean accuracy and an interval of ± HALF."""
    return [record(seed=s, accuracy=mean + d, **changes) for s, d in zip((1, 2, 3), SPREAD, strict=True)]


def write(folder: Path, records: list[dict]) -> Path:
    """Put records below a folder, each in one of its own."""
    for number, one in enumerate(records):
        write_record(folder / f"{number:04d}", one)
    return folder


def damaged(folder: Path, content: str) -> Path:
    """A file that has the name of a record and is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(content)
    return folder / FILE


def csv_rows(text: str) -> list[dict]:
    """Rows of a csv text."""
    return list(csv.DictReader(text.splitlines()))


def sealed_text(content: dict) -> str:
    """The text of a record with a right check sum, whatever else is wrong with it."""
    try:
        return json.dumps(seal(content))
    except ValueError:  # NaN or infinite: json has no such number, so no check sum is of it
        return json.dumps({**content, KEY: 64 * "0"})
