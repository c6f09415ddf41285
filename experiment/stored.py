"""The config of a run, kept in its folder, so that the run can be loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from yacs.config import CfgNode as CN

from atomic import write_text_atomically
from experiment.config import YAML_LOADER, assemble

FILE = "config.yaml"


def write_config(cfg: CN) -> Path:
    """Write OUTPUT_DIR/config.yaml: all keys but the nodes of other trainers."""
    copy = cfg.clone()
    copy.defrost()
    for name, node in cfg.TRAINER.items():
        if isinstance(node, CN) and name != cfg.TRAINER.NAME.upper():
            del copy.TRAINER[name]
    path = Path(cfg.OUTPUT_DIR) / FILE
    write_text_atomically(path, copy.dump())
    return path


def read_config(folder: str | Path, settings: dict | None = None) -> CN:
    """The frozen config of the run in a folder.

    Args:
        folder: the run's folder, wherever it lies now.
        settings: dotted keys to change, e.g. where data moved.

    Raises:
        FileNotFoundError: the run left no config; ConfigError: it is damaged or of another version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there, so the run cannot be loaded. Delete {folder} and run its command again."
        )
    return assemble([path], settings={**(settings or {}), "OUTPUT_DIR": str(folder)})


def stored_keys(folder: str | Path) -> dict[str, str]:
    """Dotted keys and values, as text, of the run in a folder; empty where there is no config, or a damaged one."""
    try:
        body = yaml.load((Path(folder) / FILE).read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return dict(_flat(body)) if isinstance(body, dict) else {}


def _flat(body: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in body.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
