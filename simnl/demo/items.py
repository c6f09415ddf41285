"""The things on the page: pictures, classes, and how is learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NEW = 0  # the place of pictures that are to be labelled; all other places are numbers of classes


@dataclass
class Picture:
    """A picture on the page. place: `NEW`, or the number of a class; size: in bytes; shape: (width, height); order:
    those of a place are shown, and learned from, in the order of these numbers."""

    number: int
    name: str
    path: Path
    small: Path
    digest: str
    size: int
    shape: tuple[int, int]
    place: int
    order: int


@dataclass
class TaughtClass:
    """A class. sentences: about it, beside the templates."""

    number: int
    name: str
    sentences: tuple[str, ...] = ()


@dataclass
class Settings:
    """How is learned. templates, negative_templates: prompts with {} in the place of a class's name; None: the
    defaults."""

    method: str = "SimNL"
    templates: tuple[str, ...] | None = None
    negative_templates: tuple[str, ...] | None = None
