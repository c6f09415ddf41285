"""What a bundle says beyond records: the images of each draw; and carrying out its runs again, to the digit."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import build_dataset
from simnl.files import write_text_atomically
from simnl.results.bundle import Bundle, json_bytes
from simnl.runs.logs import run_log
from simnl.runs.run import run_one
from simnl.runs.stored_config import FILE as CONFIG
from simnl.runs.stored_config import read_config


def moved() -> dict[str, str]:
    """The places of data and cache that DATA and CACHE in the environment name, as settings of a config."""
    folders = {"DATASET.ROOT": os.environ.get("DATA"), "STORE.ROOT": os.environ.get("CACHE")}
    return {key: value for key, value in folders.items() if value}


def all_image_lists(configs: Iterable[CN]) -> Iterator[dict[str, bytes]]:
    """`image_lists` of each config; those that draw the same images have their data set read once."""
    known: dict[str, dict[str, bytes]] = {}
    for cfg in configs:
        draw = repr((cfg.DATASET, cfg.SEED, cfg.PRESET, cfg.PROTOCOL))
        if draw not in known:
            known[draw] = image_lists(cfg)
        yield known[draw]


def image_lists(cfg: CN) -> dict[str, bytes]:
    """The members of a bundle that say which images a run saw, made from the data set of its config.

    Raises:
        FileNotFoundError, ValueError: the data is not there or does not fit; the message is the data set's.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # the engine's log lines
        dataset: Any = build_dataset(cfg)  # one of ours, which knows its split and where its images are
    place = dataset.split_hash[:12]
    rows = {part: _rows(getattr(dataset, part), dataset.image_root) for part in ("train_x", "val", "test")}
    split = json_bytes({"dataset": cfg.DATASET.NAME, "classnames": dataset.classnames, "test": rows["test"]})
    draw = json_bytes({"train": rows["train_x"], "val": rows["val"], "split": dataset.split_hash})
    name = f"shots_{cfg.DATASET.NUM_SHOTS}-seed_{cfg.SEED}-{_short(draw)}"
    return {f"splits/{place}-{_short(split)}.json": split, f"draws/{place}/{name}.json": draw}


def _rows(images: Sequence | None, root: Path) -> list[list]:
    return [[Path(image.impath).relative_to(root).as_posix(), image.label] for image in images or ()]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def sample(bundle: Bundle, count: int, seed: int) -> list[tuple[str, dict]]:
    """Some of a bundle's runs, drawn by a generator of their own; all of them where there are no more than `count`."""
    runs = list(bundle.records())
    return sorted(random.Random(seed).sample(runs, min(count, len(runs))), key=lambda run: run[0])


def repeat(bundle: Bundle, runs: Sequence[tuple[str, dict]]) -> Iterator[tuple[str, list[str]]]:
    """Carry out runs of a bundle again, each in a temporary folder, and compare what comes out.

    Args:
        bundle: a sound one.
        runs: name and record of each, from `sample`.

    Yields:
        The name of each, and the figures that differ, in words; none where every figure is the same to the digit.

    Raises:
        FileNotFoundError, ValueError: the data, the weights or the method are not here; the message says which.
    """
    for name, record in runs:
        with tempfile.TemporaryDirectory(prefix="simnl-repeat-") as folder:
            write_text_atomically(Path(folder) / CONFIG, bundle.config(name).decode())
            cfg = read_config(folder, {**moved(), "VERBOSE": False, "RESUME": ""})
            lists = image_lists(cfg)
            with run_log(folder, quiet=True):
                again = run_one(cfg)
        yield name, list(_differences(record, again or {}, bundle, lists))


def _differences(record: dict, again: dict, bundle: Bundle, lists: dict[str, bytes]) -> Iterator[str]:
    for key in ("accuracy", "split_hash", "weights_fingerprint", "num_test"):
        if record.get(key) != again.get(key):
            yield f"{key} is {again.get(key)} here and {record.get(key)} in the bundle"
    for target, accuracy in record.get("targets", {}).items():
        here = again.get("targets", {}).get(target)
        if here != accuracy:
            yield f"accuracy on {target} is {here} here and {accuracy} in the bundle"
    if any(name.startswith("draws/") for name in bundle.members):
        for member in sorted(lists.keys() - bundle.members.keys()):
            yield f"the images are others: the bundle has no {member}"
