"""Uploaded pictures: which are accepted, how large they may be, and the small copies that the page shows."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from simnl.data.images import UnreadableImage, read_image, reason_of, to_rgb
from simnl.data.listing import IMAGE_SUFFIXES
from simnl.demo.errors import Refused
from simnl.escaping import file_name, printable, shortened

# Only these are decoded: others that Pillow knows start programs (EPS) or are hardly ever met.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_FILE = 25 * 2**20  # bytes of one picture
MAX_TOTAL = 2**30  # bytes of all pictures
MAX_PICTURES = 2000
MAX_PIXELS = 50_000_000  # a small file can claim billions, and decoding takes 3 bytes for each
MAX_ASPECT = 50  # the transform makes the shorter side as long as the model's, and the longer one in proportion
SMALL = 256  # pixels of the longer side of a small copy


@dataclass(frozen=True)
class Looked:
    """The facts about a picture that was decoded.

    digest: SHA-256 (hex) of its content; width, height: in pixels; small: a small copy of what a model sees, JPEG.
    """

    digest: str
    width: int
    height: int
    small: bytes


def look_at(content: bytes, name: str) -> Looked:
    """Decode a picture.

    Raises:
        Refused: the content is no picture, is damaged or is too large. The message says which picture, and why.
    """
    shown = shortened(name)
    if not content:
        raise Refused(f"{shown} is empty.")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            _check_size(shown, width, height)
            pixels = to_rgb(image)
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise Refused(f"{shown} has more than {MAX_PIXELS // 10**6} million pixels: make it smaller.", 413) from None
    except Image.UnidentifiedImageError:
        kinds = ", ".join(FORMATS[:-1])
        raise Refused(f"{shown} is no picture that can be read. Use {kinds} or {FORMATS[-1]}.", 415) from None
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        raise Refused(f"{shown} cannot be decoded: {printable(reason_of(error))}.", 415) from error
    return Looked(hashlib.sha256(content).hexdigest(), width, height, small_copy(pixels))


def _check_size(shown: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(
            f"{shown} has {width:,} x {height:,} pixels, more than {MAX_PIXELS // 10**6} million: make it smaller.",
            413,
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused(f"{shown} has {width:,} x {height:,} pixels, which is too narrow for a model to see.", 413)


def small_copy(image: Image.Image) -> bytes:
    """An RGB image as a small JPEG, turned as the model sees it. `image` is changed."""
    image.thumbnail((SMALL, SMALL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def small_copy_of(folder: Path, name: str) -> bytes | None:
    """A small copy of a picture in a folder, or None if it is not there or its name leads out of the folder."""
    path = os.path.normpath(folder / name)
    if not Path(path).is_relative_to(os.path.normpath(folder)):
        return None
    try:
        return small_copy(read_image(path))
    except UnreadableImage:
        return None


def free_name(name: str, taken: set[str]) -> str:
    """A file name for a picture that is not yet in `taken` (small letters). The name is added to `taken`."""
    stem, ending = os.path.splitext(file_name(os.path.basename(name.replace("\\", "/")) or "picture"))
    if ending.lower() not in IMAGE_SUFFIXES:
        stem, ending = stem + ending, ".png" if not ending else ""
    number, found = 1, f"{stem}{ending}"
    while found.lower() in taken:
        number += 1
        found = f"{stem}-{number}{ending}"
    taken.add(found.lower())
    return found
