"""Name -> class tables, and the check that a requested name exists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dassl._upstream import where

__all__ = ["Registry", "check_availability", "get_most_similar_str_to_a_from_b"]


class Registry:
    """A table of named classes or functions, in the order of their registration.

    Example::

        TRAINER_REGISTRY = Registry("TRAINER")

        @TRAINER_REGISTRY.register()
        class CoOp(TrainerX): ...
    """

    def __init__(self, name: str):
        self._name = name
        self._obj_map: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register `obj` under its `__name__`; without `obj`, return a decorator that does so.

        Raises:
            KeyError: the name is taken and `force` is false.
        """
        if obj is None:
            return self._decorator(force)
        self._add(obj, force)
        return obj

    def get(self, name: str) -> Any:
        """The object registered under `name`.

        Raises:
            KeyError: there is none.
        """
        if name not in self._obj_map:
            names = ", ".join(self._obj_map) or "nothing"
            raise KeyError(f"'{name}' is not registered in {self._name}. Registered: {names}")
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        """All names, in the order of registration."""
        return list(self._obj_map)

    def __contains__(self, name: str) -> bool:
        return name in self._obj_map

    def _decorator(self, force: bool) -> Callable[[Any], Any]:
        def wrapper(obj: Any) -> Any:
            self._add(obj, force)
            return obj

        return wrapper

    def _add(self, obj: Any, force: bool) -> None:
        name = obj.__name__
        if name in self._obj_map and not force:
            raise KeyError(
                f"'{name}' is already registered in {self._name} (by {self._obj_map[name].__module__}). "
                "Choose another name, or pass force=True to replace it."
            )
        self._obj_map[name] = obj


def get_most_similar_str_to_a_from_b(a: str, b: Iterable[str]) -> str | None:
    """The string of `b` closest to `a` by difflib's ratio, the later of equal ones; None without any."""
    best, best_ratio = None, -1.0
    for candidate in b:
        ratio = difflib.SequenceMatcher(None, a, candidate).ratio()
        if ratio >= best_ratio:
            best, best_ratio = candidate, ratio
    return best


def check_availability(requested: str, available: Sequence[str]) -> None:
    """Check that a requested name is one of those available.

    Raises:
        ValueError: it is not; the text lists the available names and proposes the closest, and says where the name
            is to be found if upstream has it.
    """
    if requested in available:
        return
    closest = get_most_similar_str_to_a_from_b(requested, available)
    hint = f" (do you mean [{closest}]?)" if closest is not None else ""
    elsewhere = where(requested)
    raise ValueError(
        f"[{requested}] is not available{hint}. Available: {', '.join(available) or 'nothing'}"
        + (f". {elsewhere}" if elsewhere else "")
    )
