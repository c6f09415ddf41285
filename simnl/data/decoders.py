"""Decoders of JPEG files, by name, that take the place of Pillow's own where a config says so.

A decoder is for JPEG files of grey or colour; all other files are Pillow's. What a decoder refuses (a file that is cut
short, say) is Pillow's, too, so a damaged file is told in the same words whatever the decoder is.

`simplejpeg` is the one that is worth its dependency. torchvision's decoder is slower than Pillow's on a processor, and
the faster modes of libjpeg-turbo change nearly all pixels for a tenth more images a second (docs/performance.md).
"""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

import numpy as np
import PIL
from PIL import Image

from simnl.config_names import check_choice

PILLOW = "pillow"
DECODERS = (PILLOW, "simplejpeg")
KEY = "MODEL.BACKBONE.DECODER"
START_OF_JPEG = b"\xff\xd8\xff"
COLOURS = ("YCbCr", "RGB", "Gray")  # what simplejpeg turns into RGB as Pillow does


def check_decoder(name: str) -> str:
    """The name of a decoder that is at hand.

    Raises:
        ValueError: there is no such decoder, or its package is not installed.
    """
    check_choice(KEY, name, DECODERS)
    if name != PILLOW and find_spec(name) is None:
        raise ValueError(
            f"{KEY} is '{name}', and the package {name} is not installed: run `pip install {name}`, or take {PILLOW}, "
            "whose features have entries of their own."
        )
    return name


def with_version(name: str) -> str:
    """Name and version of a decoder, by which features of its pixels are told apart from others."""
    return f"{name} {metadata.version(name)}"


def drop_in() -> str:
    """Name and version of Pillow-SIMD where it is installed in Pillow's place; empty for Pillow itself."""
    return f"pillow-simd {PIL.__version__}" if ".post" in PIL.__version__ else ""


def decode_jpeg(data: bytes, decoder: str) -> Image.Image | None:
    """The content of a JPEG file as RGB.

    Args:
        data: the content of an image file.
        decoder: one of `DECODERS`.

    Returns:
        The image, or None where Pillow is to decode it.
    """
    if decoder == PILLOW or not data.startswith(START_OF_JPEG):
        return None
    import simplejpeg

    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if colour not in COLOURS or height * width > (Image.MAX_IMAGE_PIXELS or np.inf):
            return None
        return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:  # Pillow says what is wrong with it
        return None
