"""The plane figures of the rendered `shapes` benchmark, as polygons.

Every figure is a function without arguments that returns one or two closed polygons `(P, 2)` (float64, x to the right,
y downwards); the second polygon, where there is one, is a hole. All are centred near the origin and of about the same
extent, so that the size of a figure says little about its kind.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Polygons = tuple[np.ndarray, ...]


def _angles(count: int) -> np.ndarray:
    """Return `count` equally spaced angles in [0, 2 pi)."""
    return np.arange(count) * (2.0 * np.pi / count)


def _polar(radius: Callable[[np.ndarray], np.ndarray], count: int = 72) -> np.ndarray:
    """Return the polygon `(count, 2)` of the curve r = radius(angle)."""
    angle = _angles(count)
    r = np.broadcast_to(radius(angle), angle.shape)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def _regular(corners: int, radius: float = 1.0) -> np.ndarray:
    """Return a regular polygon with a corner at the top."""
    angle = _angles(corners) - np.pi / 2
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _points(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def _star() -> Polygons:
    angle = _angles(10) - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.25, 0.52)
    return (np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1),)


def _cross() -> Polygons:
    a, b = 0.36, 1.1
    upper = ((-b, a), (-b, -a), (-a, -a), (-a, -b), (a, -b), (a, -a))
    return (_points(*upper, *((-x, -y) for x, y in upper)),)


def _heart() -> Polygons:
    t = _angles(60)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return (np.stack([x, -y - 2.5], axis=1) / 15.0,)


def _crescent() -> Polygons:
    outer = np.linspace(0.25 * np.pi, 1.75 * np.pi, 40)
    inner = np.linspace(1.62 * np.pi, 0.38 * np.pi, 32)
    big = np.stack([np.cos(outer), np.sin(outer)], axis=1) * 1.15
    small = np.stack([np.cos(inner), np.sin(inner)], axis=1) * 0.88 + [0.48, 0.0]
    return (np.concatenate([big, small]) + [0.25, 0.0],)


def _drop() -> Polygons:
    t = _angles(60)
    return (np.stack([1.09 * np.sin(t) * np.sin(t / 2) ** 1.6, 1.25 * np.cos(t)], axis=1),)


def _arrow() -> Polygons:
    right = ((0.95, -0.2), (0.36, -0.2), (0.36, 1.15))
    return (_points((0, -1.3), *right, *((-x, y) for x, y in reversed(right))),)


def _tee() -> Polygons:
    right = ((1.1, -1.0), (1.1, -0.35), (0.36, -0.35), (0.36, 1.2))
    return (_points(*right, *((-x, y) for x, y in reversed(right))),)


def _hourglass() -> Polygons:
    return (_points((-0.95, -1.1), (0.95, -1.1), (0.22, 0), (0.95, 1.1), (-0.95, 1.1), (-0.22, 0)),)


def _gear() -> Polygons:
    return (_polar(lambda a: np.where(np.sin(8 * a) > 0, 1.18, 0.86), 160),)


def _frame() -> Polygons:
    return (_regular(4, 1.35), _regular(4, 0.75))


def _ring() -> Polygons:
    return (_polar(lambda a: np.ones_like(a) * 1.12), _polar(lambda a: np.ones_like(a) * 0.58))


FIGURES: dict[str, Callable[[], Polygons]] = {
    "circle": lambda: (_polar(lambda a: np.ones_like(a)),),
    "square": lambda: (_regular(4, 1.25),),
    "triangle": lambda: (_regular(3, 1.3),),
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "crescent": _crescent,
    "drop": _drop,
    "arrow": _arrow,
    "tee": _tee,
    "hourglass": _hourglass,
    "gear": _gear,
    "frame": _frame,
    "ring": _ring,
    "flower": lambda: (_polar(lambda a: 0.92 + 0.3 * np.cos(5 * a)),),
    "clover": lambda: (_polar(lambda a: 0.35 + 0.9 * np.abs(np.cos(2 * a)) ** 0.7),),
}
