"""Names that a module offers, and that are imported from elsewhere when they are first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module that offers names of packages which take long to import.

    Args:
        module: the module's `__name__`.
        names: name -> `package.module` or `package.module:attribute` that it stands for.

    Returns:
        A function of a name. If the package is not installed, the name stands for a function that says so when it
        is called, so that `from module import *` works without the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source, _, attribute = names[name].partition(":")
        try:
            value = importlib.import_module(source)
        except ImportError as error:
            return _missing(name, error)
        if attribute:
            value = getattr(value, attribute)
        setattr(sys.modules[module], name, value)
        return value

    return __getattr__


def _missing(name: str, error: ImportError) -> Callable[..., Any]:
    reason = str(error)

    def missing(*args: Any, **kwargs: Any) -> Any:
        raise ImportError(f"{name} cannot be used: {reason}. Install the package that it comes from")

    return missing
