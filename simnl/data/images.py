"""Decoding an image file as 8-bit RGB, or saying by name why that cannot be done right.

Pillow's own conversion cuts values above 255 off, so a 16-bit image comes out white and one of fractions black. Here an
image of more than 8 bits per channel is scaled where its file says which value is white, and refused otherwise.

What is kept as Pillow has it: transparency is dropped (the colour that is stored below it shows), of an animation or a
file of several pages the first image counts, the orientation that a camera noted (EXIF) is not applied, and colour
images of 16 bits per channel keep the upper 8 of each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from simnl.data.decoders import PILLOW, decode_jpeg

WHITE_16 = 65535
KNOWN_AS_16 = ("PNG", "PPM")  # formats whose mode I holds values up to WHITE_16, by their definition or by Pillow
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF file
SIGNED = 2
WHITE_IS_ZERO = 0


class UnreadableImage(OSError):
    """An image that cannot be decoded. From a worker process it comes as a traceback, of which the message is kept."""

    def __init__(self, text: str):
        super().__init__(text.rstrip().rpartition(f"{type(self).__name__}: ")[2])


def read_image(path: str, decoder: str = PILLOW) -> Image.Image:
    """Decode an image file as RGB. decoder: see `decode_image`.

    Raises:
        UnreadableImage: the file cannot be read or decoded, or not without a guess; the message names it.
    """
    with named(path):
        return decode_image(Path(path).read_bytes(), decoder)


@contextmanager
def named(path: str) -> Iterator[None]:
    """Within the block an image file is read and decoded; what goes wrong is told by its name.

    Raises:
        UnreadableImage: the block raised what Pillow or the disk raises.
    """
    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)  # Pillow names the bytes, by their place in memory
        reason = f"cannot identify image file {path!r}" if unknown else error
        raise UnreadableImage(
            f"Cannot decode the image {path}: {reason}. Replace the file and run the command again."
        ) from error


def decode_image(data: bytes, decoder: str = PILLOW) -> Image.Image:
    """Decode the content of an image file as RGB.

    Args:
        data: all bytes of the file.
        decoder: the decoder of JPEG files, one of `simnl.data.decoders.DECODERS`.

    Raises:
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: as Pillow does, or as `to_rgb`.
    """
    image = decode_jpeg(data, decoder)
    if image is not None:
        return image
    with Image.open(io.BytesIO(data)) as opened:
        return to_rgb(opened)


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as 8-bit RGB: by Pillow's conversion where a channel has 8 bits, else scaled.

    Raises:
        ValueError: nothing says which of its values is white.
    """
    if not _is_deep(image.mode):
        if isinstance(image, TiffImageFile) and SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ()):
            raise ValueError("its pixels are whole numbers with a sign, and nothing says which value is white")
        return image.convert("RGB")
    white = _white_of(image)
    if white is None:
        kind = "fractions" if image.mode == "F" else "whole numbers of 32 bits or with a sign"
        raise ValueError(
            f"its pixels are {kind} (mode {image.mode}), and nothing says which value is white; save it with 8 or 16 "
            "bits per channel"
        )
    values = np.asarray(image).astype(np.uint32)
    scaled = ((values * 255 + white // 2) // white).astype(np.uint8)  # a division by 257 for 16 bits, rounded
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled  # Pillow inverts 8-bit ones alone
    return Image.fromarray(scaled).convert("RGB")


def _is_deep(mode: str) -> bool:
    """True for Pillow's modes of one channel with more than 8 bits: I, F, and I;16 in its byte orders."""
    return mode in ("I", "F") or mode.startswith("I;")


def _white_of(image: Image.Image) -> int | None:
    """The value of white, where mode or file say it."""
    if image.mode == "F":
        return None
    if image.mode == "I":  # older Pillow opens 16-bit PNG files as such
        return WHITE_16 if image.format in KNOWN_AS_16 else None
    if isinstance(image, TiffImageFile):
        return 2 ** int(image.tag_v2.get(BITS, (16,))[0]) - 1  # 12 bits come as mode I;16, too
    return WHITE_16
