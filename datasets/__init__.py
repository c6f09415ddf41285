"""Data sets: one small declaration per file, registered under CoOp's names in `DATASET_REGISTRY`.

A new data set is a new module in this folder, nothing else: `import_all()` finds and imports it.
"""

from __future__ import annotations

import importlib
import pkgutil


def import_all() -> list[str]:
    """Import every module of this package, so that each data set registers itself; returns their names.

    Calling it again is harmless: a module is executed once.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."))
    for name in names:
        importlib.import_module(name)
    return names
