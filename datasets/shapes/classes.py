"""Classes and splits of the bundled `shapes` benchmark: names, figures, patterns and counts.

A class is a figure under a pattern. Half of the figures carry plain English names. The others carry invented names
(nonce words of the word-learning literature), as aircraft variants or plant species do for CLIP: no caption that the
bundled model was trained on contains them, so its text tower knows only the pattern half of such a class name.
"""

from __future__ import annotations

from dataclasses import dataclass

CLASS_PATTERNS = ("solid", "striped", "dotted", "checkered")

# class word -> figure of figures.FIGURES
KNOWN_FIGURES = {
    "circle": "circle",
    "square": "square",
    "triangle": "triangle",
    "star": "star",
    "heart": "heart",
}
OPAQUE_FIGURES = {
    "dax": "crescent",
    "wug": "tee",
    "blicket": "frame",
    "toma": "hourglass",
    "gazzer": "flower",
}
SPLITS = {"train": 32, "val": 10, "test": 45}  # images per class


@dataclass(frozen=True)
class ShapeClass:
    """One class of the benchmark."""

    label: int
    name: str
    figure: str
    pattern: str
    opaque: bool


def _classes() -> tuple[ShapeClass, ...]:
    figures = {**KNOWN_FIGURES, **OPAQUE_FIGURES}
    pairs = sorted((f"{pattern} {word}", word, pattern) for word in figures for pattern in CLASS_PATTERNS)
    return tuple(
        ShapeClass(label, name, figures[word], pattern, word in OPAQUE_FIGURES)
        for label, (name, word, pattern) in enumerate(pairs)
    )


CLASSES = _classes()
