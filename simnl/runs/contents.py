"""What stands in the files that a config names: templates are read here, and a run's name depends on the content.

A path says little: the file behind it can change, and the same file can lie elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from types import SimpleNamespace

from yacs.config import CfgNode as CN

from simnl.data.own_images import content_digest, folder_of, made_here

FILE_KEYS = (
    ("DATASET", "SPLIT_FILE"),
    ("DATASET", "CLASSNAMES_FILE"),
    ("PROMPTS", "POSITIVE_FILE"),
    ("PROMPTS", "NEGATIVE_FILE"),
)
TEMPLATE_FILES = {"POSITIVE": "templates.txt", "NEGATIVE": "negative_templates.txt"}  # in a folder of one's own images


def apply_templates(cfg: CN, given: set[str], problems: list[str]) -> None:
    """Put templates that stand in text files into PROMPTS.POSITIVE and PROMPTS.NEGATIVE.

    The files are PROMPTS.POSITIVE_FILE and NEGATIVE_FILE; for ImageFolder also `TEMPLATE_FILES` in the folder, unless
    the command line says otherwise.

    Args:
        cfg: not frozen yet.
        given: keys of the command line.
        problems: what is wrong is added here.
    """
    from simnl.clip.text import read_templates

    for sign, own in TEMPLATE_FILES.items():
        key, file_key = f"PROMPTS.{sign}", f"PROMPTS.{sign}_FILE"
        path = cfg.PROMPTS[f"{sign}_FILE"]
        if path and key in given:
            problems.append(f"command line: {key} and {file_key} both give templates: leave one out")
            continue
        if not path and key not in given and _own_folder(cfg) and (folder_of(cfg) / own).is_file():
            path = str(folder_of(cfg) / own)
        if path:
            try:
                cfg.PROMPTS[sign] = read_templates(Path(path).expanduser())
            except (OSError, ValueError) as error:
                problems.append(f"{file_key}: {error}")


def digests(cfg: CN) -> dict[str, str]:
    """SHA-256, by key, of the content behind the paths of a config; keys whose file does not exist are left out."""
    from simnl.clip.prompts import find_cupl

    found = {f"{node}.{leaf}": Path(cfg[node][leaf]).expanduser() for node, leaf in FILE_KEYS if cfg[node][leaf]}
    cupl = find_cupl(cfg, _place(cfg))[0]
    found |= {"PROMPTS.CUPL": cupl} if cupl else {}
    found |= {f"DATASET.ROOT/{name}": _place(cfg).root / name for name in _label_files(cfg)}
    sums = {key: _sha256(path) for key, path in found.items() if path.is_file()}
    if _own_folder(cfg):
        sums["DATASET.FOLDER"] = content_digest(cfg)
        split = cfg.DATASET.SPLIT_FILE and Path(cfg.DATASET.SPLIT_FILE).expanduser()
        if split and (not split.is_file() or made_here(split.read_bytes())):
            sums["DATASET.SPLIT_FILE"] = "made here"  # by the first run, and follows from the rest
    return sums


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    """Read again only where size or time say that the file has changed: a matrix asks once per cell."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _label_files(cfg: CN) -> list[str]:
    """The data set's own files that say labels and parts; none where DATASET.SPLIT_FILE stands for them."""
    if cfg.DATASET.NAME == "ImageFolder" or cfg.DATASET.SPLIT_FILE:
        return []
    kind = _kind(cfg)
    names = getattr(kind, "label_files", ()) or [getattr(kind, "split_file", "")]
    return [name for name in names if name]


def _own_folder(cfg: CN) -> bool:
    return cfg.DATASET.NAME == "ImageFolder" and bool(cfg.DATASET.FOLDER) and folder_of(cfg).is_dir()


def _kind(cfg: CN) -> type | None:
    """The class of a config's data set."""
    from dassl.data.datasets import DATASET_REGISTRY

    known = cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
    return DATASET_REGISTRY.get(cfg.DATASET.NAME) if known else None


def _place(cfg: CN) -> SimpleNamespace:
    """Where the data set of a config lies, without reading it: as `FewShotDataset.find_root`, where it is there."""
    kind, top = _kind(cfg), Path(cfg.DATASET.ROOT).expanduser()
    below = top / getattr(kind, "dataset_dir", "")
    root = folder_of(cfg) if cfg.DATASET.FOLDER else below if below.is_dir() else top
    return SimpleNamespace(root=root, bundled_dir=getattr(kind, "bundled_dir", None))
