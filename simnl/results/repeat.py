"""What a bundle says beyond records: the images of each draw; and carrying out its runs again, to the digit."""

from __future__ import annotations

import contextlib
import hashlib
import io
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
from simnl.runs.stored_config import moved, read_config

COMPARED = ("accuracy", "split_hash", "weights_fingerprint", "num_test")


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

    def rows(images: Sequence | None) -> list[list]:
        return [[Path(i.impath).relative_to(dataset.image_root).as_posix(), i.label] for i in images or ()]

    place = dataset.split_hash[:12]
    split = json_bytes({"dataset": cfg.DATASET.NAME, "classnames": dataset.classnames, "test": rows(dataset.test)})
    draw = json_bytes({"train": rows(dataset.train_x), "val": rows(dataset.val), "split": dataset.split_hash})
    name = f"shots_{cfg.DATASET.NUM_SHOTS}-seed_{cfg.SEED}-{_short(draw)}"
    return {f"splits/{place}-{_short(split)}.json": split, f"draws/{place}/{name}.json": draw}


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
    figures = {key: (again.get(key), record.get(key)) for key in COMPARED}
    for target, accuracy in record.get("targets", {}).items():
        figures[f"accuracy on {target}"] = (again.get("targets", {}).get(target), accuracy)
    for name, (here, there) in figures.items():
        if here != there:
            yield f"{name} is {here} here and {there} in the bundle"
    if any(name.startswith("draws/") for name in bundle.members):
        for member in sorted(lists.keys() - bundle.members.keys()):
            yield f"the images are others: the bundle has no {member}"
