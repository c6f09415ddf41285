"""Methods and data sets are plugins: this module finds and imports them, and no list names them.

It imports the modules of the packages `trainers` and `datasets` of this repository, and whatever other distributions
announce under the entry-point group `simnl.plugins`, so that a method can live in a repository of its own. The yaml of
such a method lies in `configs/trainers/` inside its package, where `simnl.config_names` finds it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from importlib import metadata, util
from pathlib import Path
from types import ModuleType

from simnl.config_names import GROUP
from simnl.locations import INSTALLED, ROOT

METHODS = "trainers"
DATASETS = "" if INSTALLED else "datasets"  # a wheel has no data sets


@functools.cache
def load_plugins() -> None:
    """Import every plugin, so that it registers itself with the engine's registries.

    An error in a plugin's own code is raised unchanged, so that its traceback names the line.
    """
    _import_ours(METHODS)
    load_datasets()


@functools.cache
def load_datasets() -> None:
    """Import the data sets, which need no PyTorch, and the plugins of other distributions."""
    import_all(importlib.import_module("simnl.data.own_images"))
    _import_ours(DATASETS)
    for entry in metadata.entry_points(group=GROUP):
        import_all(entry.load())


def methods_are_loaded() -> bool:
    """True once `load_plugins` has imported the methods."""
    return load_plugins.cache_info().currsize > 0


def _import_ours(name: str) -> None:
    if name and _is_ours(name):
        import_all(importlib.import_module(name))


def import_all(package: ModuleType) -> None:
    """Import every module of a package; a plain module has none."""
    for module in pkgutil.iter_modules(getattr(package, "__path__", ()), prefix=f"{package.__name__}."):
        importlib.import_module(module.name)


def _is_ours(name: str) -> bool:
    """False for a package of the same name by somebody else, such as the well-known `datasets`."""
    spec = util.find_spec(name)
    return bool(spec and spec.origin and Path(spec.origin).resolve().is_relative_to(ROOT))
