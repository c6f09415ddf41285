"""Single operations on PIL images with a strength, as the augmentation policies name them.

Ranges of strengths are those of the papers: Cubuk et al., "AutoAugment", CVPR 2019, https://arxiv.org/abs/1805.09501,
and "RandAugment", NeurIPS 2020, https://arxiv.org/abs/1909.13719. Signs and places are drawn with Python's `random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

__all__ = ["OPERATIONS", "fixmatch_list", "randaugment_list", "randaugment_list2"]

GREY = (128, 128, 128)
Operation = Callable[[Image.Image, float], Image.Image]


def _affine(img: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return img.transform(img.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY)


def shear_x(img: Image.Image, v: float) -> Image.Image:
    """Shear sideways by `v` pixels per pixel, in either direction."""
    return _affine(img, (1, _either(v), 0, 0, 1, 0))


def shear_y(img: Image.Image, v: float) -> Image.Image:
    """Shear up or down by `v` pixels per pixel."""
    return _affine(img, (1, 0, 0, _either(v), 1, 0))


def translate_x(img: Image.Image, v: float) -> Image.Image:
    """Shift sideways by the share `v` of the width, in either direction."""
    return translate_x_abs(img, v * img.width)


def translate_y(img: Image.Image, v: float) -> Image.Image:
    """Shift up or down by the share `v` of the height."""
    return translate_y_abs(img, v * img.height)


def translate_x_abs(img: Image.Image, v: float) -> Image.Image:
    """Shift sideways by `v` pixels, in either direction."""
    return _affine(img, (1, 0, _either(v), 0, 1, 0))


def translate_y_abs(img: Image.Image, v: float) -> Image.Image:
    """Shift up or down by `v` pixels."""
    return _affine(img, (1, 0, 0, 0, 1, _either(v)))


def rotate(img: Image.Image, v: float) -> Image.Image:
    """Rotate by `v` degrees, in either direction."""
    return img.rotate(_either(v), Image.Resampling.BICUBIC, fillcolor=GREY)


def autocontrast(img: Image.Image, v: float = 0) -> Image.Image:
    """Stretch each channel to the whole range."""
    return ImageOps.autocontrast(img)


def equalize(img: Image.Image, v: float = 0) -> Image.Image:
    """Give each channel an even histogram."""
    return ImageOps.equalize(img)


def invert(img: Image.Image, v: float = 0) -> Image.Image:
    """The negative."""
    return ImageOps.invert(img)


def posterize(img: Image.Image, v: float) -> Image.Image:
    """Keep `v` bits per channel, at least one."""
    return ImageOps.posterize(img, max(1, round(v)))


def solarize(img: Image.Image, v: float) -> Image.Image:
    """Invert values of `v` (0 to 256) and above."""
    return ImageOps.solarize(img, round(v))


def solarize_add(img: Image.Image, v: float) -> Image.Image:
    """Add `v` (0 to 110) to values below 128."""
    table = [min(255, value + round(v)) if value < 128 else value for value in range(256)]
    return img.point(table * len(img.getbands()))


def color(img: Image.Image, v: float) -> Image.Image:
    """Saturation times `v`."""
    return ImageEnhance.Color(img).enhance(v)


def contrast(img: Image.Image, v: float) -> Image.Image:
    """Contrast times `v`."""
    return ImageEnhance.Contrast(img).enhance(v)


def brightness(img: Image.Image, v: float) -> Image.Image:
    """Brightness times `v`."""
    return ImageEnhance.Brightness(img).enhance(v)


def sharpness(img: Image.Image, v: float) -> Image.Image:
    """Sharpness times `v`."""
    return ImageEnhance.Sharpness(img).enhance(v)


def cutout_abs(img: Image.Image, v: float) -> Image.Image:
    """Paint a square of `v` pixels around a random place grey."""
    if v <= 0:
        return img
    x, y = random.uniform(0, img.width), random.uniform(0, img.height)
    left, top = max(0, int(x - v / 2)), max(0, int(y - v / 2))
    img = img.copy()
    ImageDraw.Draw(img).rectangle((left, top, min(img.width, left + v), min(img.height, top + v)), fill=GREY)
    return img


def identity(img: Image.Image, v: float = 0) -> Image.Image:
    """Nothing."""
    return img


def _either(v: float) -> float:
    return v if random.random() < 0.5 else -v


def _enhancing(operation: Operation) -> Operation:
    """An enhancement whose strength is the distance from one, in either direction."""
    return lambda img, v: operation(img, 1 + _either(v))


# AutoAugment's names -> operation, and its strengths from level 0 to level 9
OPERATIONS: dict[str, tuple[Operation, float, float]] = {
    "shearX": (shear_x, 0, 0.3),
    "shearY": (shear_y, 0, 0.3),
    "translateX": (translate_x, 0, 150 / 331),
    "translateY": (translate_y, 0, 150 / 331),
    "rotate": (rotate, 0, 30),
    "color": (_enhancing(color), 0, 0.9),
    "posterize": (posterize, 8, 4),
    "solarize": (solarize, 256, 0),
    "contrast": (_enhancing(contrast), 0, 0.9),
    "sharpness": (_enhancing(sharpness), 0, 0.9),
    "brightness": (_enhancing(brightness), 0, 0.9),
    "autocontrast": (autocontrast, 0, 0),
    "equalize": (equalize, 0, 0),
    "invert": (invert, 0, 0),
}


def randaugment_list() -> list[tuple[Operation, float, float]]:
    """RandAugment's operations, each with its least and its greatest strength."""
    return [
        (autocontrast, 0, 1),
        (equalize, 0, 1),
        (invert, 0, 1),
        (rotate, 0, 30),
        (posterize, 0, 4),
        (solarize, 0, 256),
        (solarize_add, 0, 110),
        (color, 0.1, 1.9),
        (contrast, 0.1, 1.9),
        (brightness, 0.1, 1.9),
        (sharpness, 0.1, 1.9),
        (shear_x, 0, 0.3),
        (shear_y, 0, 0.3),
        (cutout_abs, 0, 40),
        (translate_x_abs, 0, 100),
        (translate_y_abs, 0, 100),
    ]


def randaugment_list2() -> list[tuple[Operation, float, float]]:
    """The operations of the variant that draws strengths at random."""
    return [
        (autocontrast, 0, 1),
        (brightness, 0.1, 1.9),
        (color, 0.1, 1.9),
        (contrast, 0.1, 1.9),
        (equalize, 0, 1),
        (identity, 0, 1),
        (invert, 0, 1),
        (posterize, 0, 4),
        (rotate, 0, 30),
        (sharpness, 0.1, 1.9),
        (shear_x, 0, 0.3),
        (shear_y, 0, 0.3),
        (solarize, 0, 256),
        (solarize_add, 0, 110),
        (translate_x, 0, 0.3),
        (translate_y, 0, 0.3),
    ]


def fixmatch_list() -> list[tuple[Operation, float, float]]:
    """FixMatch's operations. Source: Sohn et al., NeurIPS 2020, https://arxiv.org/abs/2001.07685, appendix."""
    return [
        (autocontrast, 0, 1),
        (brightness, 0.05, 0.95),
        (color, 0.05, 0.95),
        (contrast, 0.05, 0.95),
        (equalize, 0, 1),
        (identity, 0, 1),
        (posterize, 4, 8),
        (rotate, 0, 30),
        (sharpness, 0.05, 0.95),
        (shear_x, 0, 0.3),
        (shear_y, 0, 0.3),
        (solarize, 0, 256),
        (translate_x, 0, 0.3),
        (translate_y, 0, 0.3),
    ]
