"""The files in the folder of a run that say which run it is.

`run.json` has the name of the run, so that no other run continues from its files. `config.yaml` has its config, so that
the run can be loaded again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import yaml
from yacs.config import CfgNode as CN

from simnl.declarations import plain
from simnl.files import write_text_atomically
from simnl.runs.bases import base_of
from simnl.runs.config import assemble, is_hashed
from simnl.runs.folder import CONFIG, IDENTITY, check_folder
from simnl.runs.identity import RunIdentity
from simnl.runs.record import FILE as RECORD
from simnl.runs.record import read_record
from simnl.runs.sweep import combinations
from simnl.runs.yaml_files import YAML_DUMPER, YAML_LOADER, read_yaml
from simnl.sealed import DamagedError, check_text, read_sealed, seal_text, write_sealed

log = logging.getLogger(__name__)

FILE = CONFIG
RUN_FILES = (  # the files from which a run continues, or which describe it
    *(RECORD, "head.safetensors", "head", "selection.json"),
    *("sweep.json", "sweep", "held_shot.json", "held-shot"),
)
IDENTITY_KEYS = ("config_hash", "seed")  # the keys that run.json has
FIRST = ("TRAINER.NAME", "DATASET.CONFIG", "DATASET.NUM_SHOTS", "SEED")  # the differences that a message shows first
SHOWN = 6  # the most differences that a message shows


def take_folder(cfg: CN, identity: RunIdentity) -> bool:
    """Write run.json and config.yaml into OUTPUT_DIR, unless another run has the folder.

    A run continues from the files in its folder, so results of another run there would get the name of this one.
    run.json holds {"config_hash", "seed"} and a check sum.

    Returns:
        Whether config.yaml was written. The config of a finished run stays until its sweep, if any, has chosen.

    Raises:
        ValueError: the folder holds another run, or files of a run that do not say which run it was. The message says
            what to do.
        OSError: the run could not write its files there.
    """
    folder = Path(cfg.OUTPUT_DIR)
    check_folder(folder)
    other = _other_run(folder, cfg, identity)
    if other:
        left = [name for name in (IDENTITY, FILE, *RUN_FILES) if (folder / name).exists()]
        raise ValueError(
            f"{folder} holds another run: {other}. Choose another folder (--output-dir). Or, if you do not need that "
            f"run any more, delete its files there: {', '.join(left)}."
        )
    if cfg.RESUME and (other := _other_run(Path(cfg.RESUME), cfg, identity)):
        log.warning("RESUME: %s holds another run (%s); its checkpoint is used as you asked.", cfg.RESUME, other)
    write_sealed(folder / IDENTITY, _known(identity))
    if (folder / RECORD).is_file():
        return False
    write_config(cfg)
    return True


def _known(identity: RunIdentity) -> dict:
    return {key: getattr(identity, key) for key in IDENTITY_KEYS}


def _other_run(folder: Path, cfg: CN, identity: RunIdentity) -> str:
    """How the run in a folder differs from the run of a config; empty if it is the same run, or if there is none.

    Folders of earlier versions have no run.json. There the record says which run it was, or else the config.
    """
    if not any((folder / name).exists() for name in RUN_FILES):
        return ""
    known, stored = _known_identity(folder), stored_keys(folder)
    if known is None:
        return _differences(stored, cfg) if stored else "no file there says which one"
    if known == _known(identity):
        return ""
    return _differences(stored, cfg) or (
        f"its config hash is {known['config_hash']} and its seed {known['seed']}, and this run has "
        f"{identity.config_hash} and {identity.seed} (at equal keys, the method or a file that it reads has changed)"
    )


def _known_identity(folder: Path) -> dict | None:
    try:
        known = read_sealed(folder / IDENTITY, older=_is_unsealed)
        return {key: known[key] for key in IDENTITY_KEYS}
    except FileNotFoundError:  # the record is read then
        pass
    except (ValueError, LookupError) as error:
        log.warning("%s The file is written anew.", error)
    try:
        record = read_record(folder / RECORD)
    except (FileNotFoundError, ValueError):
        return None
    return {key: record[key] for key in IDENTITY_KEYS}


def _is_unsealed(content: object) -> bool:
    """True for the content of a run.json of earlier versions, which had no check sum."""
    return isinstance(content, dict) and set(content) == set(IDENTITY_KEYS)


def _differences(stored: dict[str, str], cfg: CN) -> str:
    """`KEY is OLD there and NEW here` for each key that changes figures; empty if there is none.

    Swept keys do not count, because the stored config has the values that the sweep chose.
    """
    swept = {"SWEEP", *(key for settings in combinations(cfg) for key in settings)}
    ours = dict(_flat(yaml.load(_text(cfg), Loader=YAML_LOADER)))
    order = sorted(ours, key=lambda key: key not in FIRST)
    keys = [key for key in order if ours[key] != stored.get(key, ours[key]) and key not in swept]
    found = [f"{key} is {stored[key]} there and {ours[key]} here" for key in keys if key == "SEED" or is_hashed(key)]
    return "; ".join(found[:SHOWN]) + (f"; ... ({len(found)} in all)" if len(found) > SHOWN else "")


def write_config(cfg: CN) -> Path:
    """Write OUTPUT_DIR/config.yaml: all keys except the nodes of methods that the run does not use, and a check sum as
    its last line."""
    path = Path(cfg.OUTPUT_DIR) / FILE
    write_text_atomically(path, seal_text(_text(cfg)))
    return path


def _text(cfg: CN) -> str:
    body, own = plain(cfg), [name.upper() for name in (cfg.TRAINER.NAME, base_of(cfg))]
    body["TRAINER"] = {
        key: value for key, value in body["TRAINER"].items() if key in own or not isinstance(value, dict)
    }
    return yaml.dump(body, Dumper=YAML_DUMPER)


def moved() -> dict[str, str]:
    """The places of data and cache that DATA and CACHE in the environment name, as settings for `read_config`."""
    folders = {"DATASET.ROOT": os.environ.get("DATA"), "STORE.ROOT": os.environ.get("CACHE")}
    return {key: value for key, value in folders.items() if value}


def read_config(folder: str | Path, settings: dict | None = None) -> CN:
    """The frozen config of the run in a folder.

    Args:
        folder: the run's folder, wherever it lies now.
        settings: dotted keys to change, e.g. because data have moved.

    Raises:
        FileNotFoundError: the run left no config.
        ValueError: the config is damaged or of another version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, so the run cannot be loaded. Delete {folder} and run its command again."
        )
    advice = f"Delete {folder} and run its command again. Or, if you edited the file, remove its last line."
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DamagedError(path, "is damaged (not UTF-8 text)", advice) from error
    if not check_text(text, path, advice):
        log.warning("%s is of an earlier version and has no check sum, so damage in it cannot be found.", path)
    return assemble([path], settings={**(settings or {}), "OUTPUT_DIR": str(folder)}, complete=True)


def stored_keys(folder: str | Path) -> dict[str, str]:
    """Dotted keys and values (as text) of the run in a folder; empty if its config is missing or damaged."""
    path = Path(folder) / FILE
    try:
        check_text(path.read_bytes().decode(), path)
        body = read_yaml(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, DamagedError) else f"{path}: {error}"
        log.warning("The config of a run is not used: %s", reason)
        return {}
    return dict(_flat(body)) if isinstance(body, dict) else {}


def _flat(body: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in body.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
