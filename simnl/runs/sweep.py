"""Try settings that each need a training, and keep the first of the best on the protocol's selection images.

`SWEEP` holds [KEY, [values]] pairs. Every combination is trained once in the run's `sweep/` folder. The run itself
then uses the best combination, and has the same figures as with that combination on the command line.
Hyper-parameters that need no new training are searched by `simnl.fewshot.search` within each run instead.
"""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from simnl.runs.config import ConfigError, find_key
from simnl.runs.record_rules import percent_problem
from simnl.runs.values import coerce
from simnl.sealed import DamagedError, read_sealed, write_sealed

log = logging.getLogger(__name__)

FILE = "sweep.json"


def combinations(cfg: CN) -> list[dict[str, object]]:
    """Settings {KEY: value} in the order of SWEEP; the last key changes fastest. Empty without a sweep.

    Raises:
        ConfigError: SWEEP is not a list of [KEY, [values]], names an unknown key, or has a value of another type than
            the key.
    """
    pairs = [_pair(cfg, entry) for entry in cfg.SWEEP]
    if not pairs:
        return []
    keys, values = zip(*pairs, strict=True)
    return [dict(zip(keys, combination, strict=True)) for combination in itertools.product(*values)]


def _pair(cfg: CN, entry: Any) -> tuple[str, list[object]]:
    """The key of an entry of SWEEP, and its values, in the type of the key as on the command line."""
    pair = isinstance(entry, list | tuple) and len(entry) == 2
    if not (pair and isinstance(entry[1], list | tuple) and entry[1]):
        raise ConfigError(f"SWEEP holds [KEY, [values]] pairs, e.g. [['OPTIM.LR', [0.001, 0.01]]]; got {entry!r}.")
    key, values = entry
    node, leaf = find_key(cfg, key)
    if node is None:
        raise ConfigError(f"SWEEP names the unknown key {key}. Check its spelling.")
    try:
        return key, [coerce(node[leaf], value) for value in values]
    except ValueError as error:
        raise ConfigError(f"SWEEP: {key}: {error}") from error


def with_settings(cfg: CN, settings: dict[str, object], folder: str) -> CN:
    """A frozen copy of a config with some keys set, no sweep, and another folder."""
    copy = cfg.clone()
    copy.defrost()
    for key, value in settings.items():
        node, leaf = find_key(copy, key)
        node[leaf] = value
    copy.SWEEP, copy.OUTPUT_DIR = [], folder
    copy.freeze()
    return copy


def sweep(cfg: CN, score: Callable[[CN], tuple[float | None, int]]) -> tuple[CN, dict, int]:
    """Train every combination and choose the best one.

    Finished combinations are written to `sweep.json`, so that an interrupted sweep continues there.

    Args:
        cfg: the config of the run, with OUTPUT_DIR.
        score: a function that trains a config. It returns the accuracy on the selection images in percent, or None
            if the protocol has no such images (nothing is swept then, and the config stays as it is), and the number of
            settings that it tried.

    Returns:
        The config to run, the chosen settings, and how many settings were tried in all.
    """
    settings = combinations(cfg)
    if not settings:
        return cfg, {}, 0
    folder = Path(cfg.OUTPUT_DIR)
    done = _read(folder / FILE, settings)
    for number in range(len(done), len(settings)):
        work = folder / "sweep" / str(number + 1)
        own = {"RESUME": ""} | settings[number]  # RESUME names a checkpoint of the run itself
        accuracy, tried = score(with_settings(cfg, own, str(work)))
        if accuracy is None:
            log.info("The protocol %s allows no selection, so SWEEP is not carried out.", cfg.PROTOCOL)
            return with_settings(cfg, {}, cfg.OUTPUT_DIR), {}, 0
        done.append({"settings": settings[number], "accuracy": accuracy, "num_settings": tried})
        write_sealed(folder / FILE, {"done": done})
        shutil.rmtree(work, ignore_errors=True)
    best = max(done, key=lambda entry: entry["accuracy"])  # the first one of equals
    log.info("Swept %d settings: %s with %.2f %%", len(done), best["settings"], best["accuracy"])
    total = sum(entry["num_settings"] for entry in done)
    return with_settings(cfg, best["settings"], cfg.OUTPUT_DIR), best["settings"], total


def _read(path: Path, settings: list[dict]) -> list[dict]:
    """The results of an interrupted sweep of the same settings. Other or damaged files are not used."""
    try:
        content = read_sealed(path, older=lambda found: isinstance(found, list))
        done, why = content.get("done") if isinstance(content, dict) else content, ""
    except FileNotFoundError:
        return []
    except DamagedError as error:
        done, why = None, f" (The file {error.why}.)"
    expected = json.loads(json.dumps(settings))
    if isinstance(done, list) and all(map(_is_entry, done)) and [e["settings"] for e in done] == expected[: len(done)]:
        return done
    log.warning("%s is damaged or belongs to another sweep, so the sweep starts anew.%s", path, why)
    return []


def _is_entry(entry: object) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {"settings": dict, "accuracy": (int, float), "num_settings": int}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        return False
    return not percent_problem(entry["accuracy"])
