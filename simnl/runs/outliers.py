"""Build the sets of outliers of a run from their names: left-out classes, data sets, rendered images, folders."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import Datum, build_dataset
from simnl.config_names import known
from simnl.data.digests import FileDigests
from simnl.data.outliers import FAR, NEAR, RENDERED, Outliers, check_disjoint, folder_outliers
from simnl.fewshot.capabilities import NEW_CLASSES
from simnl.files import make_cache
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.runs import outlier_sets
from simnl.runs.target_configs import with_new_classes
from simnl.runs.yaml_files import read_yaml


def default_outliers(cfg: CN) -> list[str]:
    """The names of the default sets: the classes that the run leaves out, if any, and every rendered set."""
    load_plugins()
    return [*([NEW_CLASSES] if cfg.DATASET.SUBSAMPLE_CLASSES == "base" else []), *RENDERED]


def build_outliers(cfg: CN, names: Sequence[str]) -> list[Outliers]:
    """The sets of these names, after a check that their classes are unknown to the run.

    Args:
        cfg: the config of the run.
        names: `new` (the classes that SUBSAMPLE_CLASSES base leaves out), a data set's config name (its test images), a
            rendered set, or the path of a folder of images (with a slash in it; `simnl.data.listing.places_of`).

    Raises:
        ValueError: a name is unknown or given twice, or a set shares classes or images with the run.
        FileNotFoundError: data are missing, or a folder has no images.
    """
    with contextlib.redirect_stdout(None):
        dataset: Any = build_dataset(cfg)
        sets = [_outliers(cfg, name) for name in names]
    twice = {one.name for one in sets if [other.name for other in sets].count(one.name) > 1}
    if twice:
        raise ValueError(f"Two sets of outliers have the same name: {', '.join(sorted(twice))}. Rename a folder.")
    digests = FileDigests(make_cache(cfg.STORE.ROOT))
    sets = [replace(one, contents=tuple(digests.of(list(one.paths)))) for one in sets]
    paths = [item.impath for item in (*dataset.train_x, *(dataset.val or []), *dataset.test)]
    known_images = dict(zip(digests.of(paths), paths, strict=True))
    for one in sets:
        check_disjoint(one, dataset.lab2cname.values(), known_images)
    return sets


def _outliers(cfg: CN, name: str) -> Outliers:
    load_plugins()
    if os.sep in name:
        return folder_outliers(name, cfg.DATASET.ROOT)
    if name in RENDERED:
        return RENDERED[name](Path(make_cache(cfg.STORE.ROOT)).resolve())
    if name in known(outlier_sets.KIND):
        return outlier_sets.load(outlier_sets.declared(name), cfg.DATASET.ROOT)
    if name == NEW_CLASSES:
        return _of_dataset(name, build_dataset(with_new_classes(cfg)), NEAR)
    if name not in known("datasets"):
        choices = [NEW_CLASSES, *RENDERED, *outlier_sets.names(), *known("datasets")]
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"Unknown outliers '{name}'.{hint} Choose from {', '.join(choices)}, or name a folder of images by a path "
            f"with a slash (./{name})."
        )
    other = cfg.clone()
    other.defrost()
    body: Any = read_yaml(CONFIGS / "datasets" / f"{name}.yaml")
    other.DATASET.NAME, other.DATASET.SUBSAMPLE_CLASSES = body["DATASET"]["NAME"], "all"
    other.DATASET.SPLIT_FILE = other.DATASET.CLASSNAMES_FILE = ""
    other.DATASET.LABEL_NOISE = 0.0
    return _of_dataset(name, build_dataset(other), FAR)


def _of_dataset(name: str, dataset: Any, distance: str) -> Outliers:
    return Outliers(name, [item.impath for item in dataset.test], list(dataset.lab2cname.values()), distance)


def items_of(outliers: Outliers) -> list[Datum]:
    """The images in the form that a loader takes. They have no label of the run; their label is 0 and is never read."""
    return [Datum(impath=path, label=0, classname="") for path in outliers.paths]
