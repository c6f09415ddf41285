"""The transform that the images of a model need: mean, standard deviation, interpolation and resizing.

A weights tag states the transform itself. A file of tensors does not, so for a file the transform is what all published
weights of the architecture agree on. Where they do not agree, the user has to give it (MODEL.BACKBONE.TRANSFORM).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import open_clip

log = logging.getLogger(__name__)

OPENAI = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
KEYS = {"mean": "MEAN", "std": "STD", "interpolation": "INTERPOLATION", "resize_mode": "RESIZE"}
NODE = "MODEL.BACKBONE.TRANSFORM"
CHOICES = {"interpolation": ("bicubic", "bilinear"), "resize_mode": ("shortest", "longest", "squash")}


@dataclass(frozen=True)
class Transform:
    """The part of a transform that the user gives. Fields that were not given are empty.

    `mean` and `std` have a number for each of the three channels, for pixels in 0..1.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = ""
    resize_mode: str = ""

    @classmethod
    def from_keys(cls, node: Mapping[str, Any]) -> Transform:
        """The transform that the config node MODEL.BACKBONE.TRANSFORM describes.

        Raises:
            ValueError: there are not three finite numbers, a std is not above 0, or a word is unknown.
        """
        for field in ("mean", "std"):
            values = node[KEYS[field]]
            numbers = [v for v in values if type(v) in (int, float) and math.isfinite(v) and (field == "mean" or v > 0)]
            if values and len(numbers) + len(values) != 6:
                above = " above 0" if field == "std" else ""
                raise ValueError(f"{NODE}.{KEYS[field]} is {values}. Give three numbers{above}, one per channel.")
        for field, words in CHOICES.items():
            if node[KEYS[field]] not in ("", *words):
                raise ValueError(f"{NODE}.{KEYS[field]} is '{node[KEYS[field]]}'. Choose one of {', '.join(words)}.")
        mean, std = (tuple(map(float, node[key])) for key in ("MEAN", "STD"))
        return cls(mean, std, node["INTERPOLATION"], node["RESIZE"])

    def or_else(self, published: Mapping[str, Any]) -> Transform:
        """This transform, with missing fields taken from open_clip's preprocessing config."""
        found = {field: published[field] for field in KEYS if published.get(field)}
        fields = {field: tuple(value) if isinstance(value, list) else value for field, value in found.items()}
        return Transform(**{**fields, **self.given})  # type: ignore[arg-type]  # of json

    @property
    def given(self) -> dict[str, object]:
        """The fields that were given."""
        return {field: value for field, value in asdict(self).items() if value}


def of_file(arch: str, path: str, given: Transform) -> dict[str, object]:
    """The transform of weights in a file, by the names of open_clip's preprocessing config.

    Raises:
        ValueError: the published weights of the architecture disagree about a field that the user did not give.
    """
    tags = open_clip.list_pretrained_tags_by_model(arch)
    missing = [field for field in OPENAI if field not in given.given]
    if not tags:
        if missing:
            log.warning(
                "%s does not say how images are prepared for it, and %s has no published weights that would. As for "
                "OpenAI's models: %s. If that is wrong, set %s.",
                path, arch, in_words({field: OPENAI[field] for field in missing}), _keys(missing),
            )  # fmt: skip
        return {**OPENAI, **given.given}
    found = {field: values for field, values in published(arch).items() if field in missing}
    open_fields = [field for field, values in found.items() if len(values) > 1]
    if open_fields:
        said = "; ".join(
            f"{field} {' or '.join(f'{_text(value)} ({_some(users)})' for value, users in found[field].items())}"
            for field in open_fields
        )
        raise ValueError(
            f"{path} does not say how images are prepared for it, and the published weights of {arch} disagree: "
            f"{said}. Set {_keys(open_fields)} as the weights were trained."
        )
    transform = {**{field: next(iter(values)) for field, values in found.items()}, **given.given}
    log.info("%s: images are prepared with %s, as for the weights of %s.", path, in_words(transform), arch)
    return transform


def of_openai_archive(given: Transform) -> dict[str, object]:
    """The transform for an archive of weights that OpenAI published."""
    return {**OPENAI, **given.given}


def in_words(transform: Mapping[str, object]) -> str:
    """A transform in words: `mean 0.5 0.5 0.5, std ..., interpolation bicubic`."""
    return ", ".join(f"{field.replace('_', ' ')} {_text(value)}" for field, value in transform.items())


def published(arch: str) -> dict[str, dict[object, list[str]]]:
    """The transforms of an architecture's weights tags: field of the transform -> value -> tags that state it."""
    tags = open_clip.list_pretrained_tags_by_model(arch)
    return {field: _by_value(arch, tags, field) for field in OPENAI}


def _by_value(arch: str, tags: list[str], field: str) -> dict[object, list[str]]:
    values: dict[object, list[str]] = {}
    for tag in tags:
        value = open_clip.get_pretrained_cfg(arch, tag).get(field) or OPENAI[field]
        values.setdefault(tuple(value) if isinstance(value, list | tuple) else value, []).append(tag)
    return values


def _keys(fields: list[str]) -> str:
    return ", ".join(f"{NODE}.{KEYS[field]}" for field in fields)


def _some(tags: list[str]) -> str:
    return ", ".join(tags[:2]) + (", ..." if len(tags) > 2 else "")


def _text(value: object) -> str:
    return " ".join(f"{number:.4g}" for number in value) if isinstance(value, tuple) else str(value)
