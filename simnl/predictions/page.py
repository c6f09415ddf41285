"""Explanations of labels as one HTML file with small pictures in it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from simnl.data.images import UnreadableImage, read_image
from simnl.escaping import printable
from simnl.fewshot.description import HeadDescription
from simnl.predictions.outputs import Answer
from simnl.predictions.predict import Unreadable

TEMPLATES = Path(__file__).resolve().parent / "templates"
SIZE = 128  # pixels of the longer side of a picture


def explanation_page(
    answers: Sequence[Answer], unreadable: Sequence[Unreadable], about: HeadDescription, support_folder: str = ""
) -> str:
    """The page. It contains its pictures and loads nothing, and texts of others are escaped.

    Args:
        answers: the answers, with their explanations.
        unreadable: the images that could not be decoded.
        about: the head.
        support_folder: the folder of the support images, under the names in the head file; empty if there is none.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value, lines=True) if type(value) is str else value,  # what macros give stays
    )
    shown: dict[str, str] = {}

    def picture(path: str) -> str:
        if path not in shown:
            shown[path] = _picture(path)
        return shown[path]

    def support_path(name: str) -> str:
        return _inside(support_folder, name) if support_folder else ""

    def largest(terms: Sequence[tuple[str, float, float]]) -> float:
        return max((abs(own - other) for _, own, other in terms), default=0.0) or 1.0

    functions = {"picture": picture, "support_path": support_path, "largest": largest}
    template = environment.get_template("explain.html.j2", globals=functions)
    return template.render(answers=answers, unreadable=unreadable, about=about)


def _inside(folder: str, name: str) -> str:
    """The path of a name in a folder; empty for a name that leads out of it."""
    path = os.path.normpath(os.path.join(folder, name))
    return path if Path(path).is_relative_to(os.path.normpath(folder)) else ""


def _picture(path: str) -> str:
    """A small copy of an image as a data address; empty if there is no image."""
    try:
        image = read_image(path) if path else None
    except UnreadableImage:
        image = None
    if image is None:
        return ""
    image.thumbnail((SIZE, SIZE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
