"""The things on the page: pictures, classes, and the settings of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NEW = 0  # the place of pictures that are to be labelled; any other place is the number of a class


@dataclass
class Picture:
    """A picture on the page.

    Attributes:
        number: the number by which requests name the picture.
        name: the name that the page shows, which no other picture has.
        path, small: the files with its content and with its small copy.
        digest: SHA-256 (hex) of the content.
        size: in bytes; shape: (width, height) in pixels.
        place: `NEW`, or the number of the class that the picture teaches.
        order: the pictures of a place are shown, and learned from, in the order of these numbers.
    """

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
    """A class with its name, and with sentences about it, which methods read beside the templates."""

    number: int
    name: str
    sentences: tuple[str, ...] = ()


@dataclass
class Settings:
    """The method, and the prompts with {} in the place of a class's name. None stands for the default prompts."""

    method: str = "SimNL"
    templates: tuple[str, ...] | None = None
    negative_templates: tuple[str, ...] | None = None
