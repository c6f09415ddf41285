"""Decode an image file as 8-bit RGB, or say why that is impossible without a guess.

Pillow's own conversion cuts off values above 255, so a 16-bit image becomes white and an image of fractions black. Here
an image with more than 8 bits per channel is scaled if its file says which value is white, and refused otherwise.

In these points the result is Pillow's: transparency is dropped, so that the colour below it shows; an animation or a
file of several pages gives its first image; the orientation that a camera noted (EXIF) is not applied; and colour
images with 16 bits per channel keep the upper 8 bits.
"""

from __future__ import annotations

import io
import warnings
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
    """An image cannot be decoded. Worker processes send a traceback, of which only the message is kept."""

    def __init__(self, text: str):
        super().__init__(text.rstrip().rpartition(f"{type(self).__name__}: ")[2])


def read_image(path: str, decoder: str = PILLOW) -> Image.Image:
    """Decode an image file as RGB. decoder: see `decode_image`.

    Raises:
        UnreadableImage: the file cannot be read or decoded, or only with a guess. The message names it.
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
        raise UnreadableImage(
            f"Cannot decode the image {path}: {reason_of(error)}. Replace the file and run the command again."
        ) from error


def reason_of(error: BaseException) -> str:
    """Why an image cannot be read or decoded, as one clause; `error` is what Pillow or the disk raised."""
    if isinstance(error, UnidentifiedImageError):  # Pillow names the bytes, by their place in memory
        return "it holds no image of a known kind"
    if isinstance(error, Image.DecompressionBombError):
        return "it claims so many pixels that decoding it could fill the memory; make it smaller"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def ignore_size_warnings() -> None:
    """Silence Pillow's warnings about large images, for a command that itself says which image is too large."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


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
    """An opened image as 8-bit RGB. Channels of 8 bits are converted by Pillow, and others are scaled.

    Raises:
        ValueError: the file does not say which value is white.
    """
    if not _is_deep(image.mode):
        if isinstance(image, TiffImageFile) and SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ()):
            raise ValueError("its pixels are whole numbers with a sign, and the file does not say which value is white")
        return image.convert("RGB")
    white = _white_of(image)
    if white is None:
        kind = "fractions" if image.mode == "F" else "whole numbers of 32 bits or with a sign"
        raise ValueError(
            f"its pixels are {kind} (mode {image.mode}), and the file does not say which value is white; save it with "
            "8 or 16 bits per channel"
        )
    values = np.asarray(image).astype(np.uint32)
    scaled = ((values * 255 + white // 2) // white).astype(np.uint8)  # for 16 bits, a rounded division by 257
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled  # Pillow inverts only 8-bit images
    return Image.fromarray(scaled).convert("RGB")


def _is_deep(mode: str) -> bool:
    """True for Pillow's modes of one channel with more than 8 bits: I, F, and I;16 in its byte orders."""
    return mode in ("I", "F") or mode.startswith("I;")


def _white_of(image: Image.Image) -> int | None:
    """The value of white, if mode or file say it."""
    if image.mode == "F":
        return None
    if image.mode == "I":  # older versions of Pillow open 16-bit PNG files in this mode
        return WHITE_16 if image.format in KNOWN_AS_16 else None
    if isinstance(image, TiffImageFile):
        return 2 ** int(image.tag_v2.get(BITS, (16,))[0]) - 1  # images of 12 bits also have the mode I;16
    return WHITE_16
