"""Decoding: every mode of Pillow, and files whose channels have more than 8 bits."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simnl.data.images import UnreadableImage, read_image, to_rgb
from simnl.data.preparation.decode import decode

# What becomes of an image of each mode: as Pillow converts it, scaled to 8 bits, or refused.
MODES = {
    "1": "pillow", "L": "pillow", "LA": "pillow", "P": "pillow", "PA": "pillow", "RGB": "pillow", "RGBA": "pillow",
    "RGBa": "pillow", "RGBX": "pillow", "CMYK": "pillow", "YCbCr": "pillow", "HSV": "pillow",
    "LAB": "pillow",
    "I;16": "scaled", "I;16L": "scaled", "I;16B": "scaled", "I;16N": "scaled", "I": "refused", "F": "refused",
    "La": "refused",
}  # fmt: skip
RAMP = np.array([[0, 1, 128, 129, 256, 257], [32767, 32768, 40000, 65406, 65407, 65535]], dtype=np.uint16)
SCALED = np.round(RAMP / 257).astype(np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode):
    image = Image.new(mode, (3, 2))
    if MODES[mode] == "refused":
        with pytest.raises(ValueError, match=rf"mode {mode}\)|conversion from {mode}"):
            to_rgb(image)
        return
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.size) == ("RGB", (3, 2))
    if MODES[mode] == "pillow":
        assert rgb.tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", [mode for mode, fate in MODES.items() if fate == "scaled"])
def test_16_bits_are_scaled_whatever_their_order(mode):
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, RAMP.shape[::-1], RAMP.astype(order).tobytes())
    assert np.array_equal(np.asarray(to_rgb(image)), np.repeat(SCALED[..., None], 3, axis=2))


def grey(path: Path) -> np.ndarray:
    pixels = np.asarray(read_image(str(path)))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_files_are_scaled(tmp_path, ending):
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(RAMP).save(path)
    assert np.array_equal(grey(path), SCALED)
    assert decode(str(path)) == ""


def test_16_bit_noise_keeps_its_mean(tmp_path):
    """What came out white before."""
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert abs(grey(tmp_path / "noise.png").mean() - 127.5) < 3


def test_an_older_pillow_opens_a_16_bit_png_as_mode_i(tmp_path):
    image = Image.fromarray(RAMP.astype(np.int32))
    image.format = "PNG"
    assert np.array_equal(np.asarray(to_rgb(image))[..., 0], SCALED)


def test_a_pgm_of_more_than_8_bits_is_scaled(tmp_path):
    (tmp_path / "deep.ppm").write_bytes(b"P5\n3 1\n4095\n" + struct.pack(">3H", 0, 2048, 4095))
    assert grey(tmp_path / "deep.ppm").tolist() == [[0, 128, 255]]


def tiff(values: np.ndarray, bits: int, sample_format: int = 1, photometric: int = 1, data: bytes = b"") -> bytes:
    """A little-endian TIFF file of one strip; `data` in place of the values' own bytes."""
    body = data or values.tobytes()
    tags = [
        (256, 3, values.shape[1]), (257, 3, values.shape[0]), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, values.shape[0]), (279, 4, len(body)), (339, 3, sample_format),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_12_bits_and_white_is_zero_in_tiff(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(RAMP, 16, photometric=0))
    assert np.array_equal(grey(path), 255 - SCALED)
    twelve = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00])  # 0, 2048, 4095, 0
    path.write_bytes(tiff(np.zeros((1, 4)), 12, data=twelve))
    assert grey(path).tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize(
    ("values", "bits", "sample_format", "word"),
    [
        (RAMP.astype(np.float32) / 65535, 32, 3, "fractions .mode F."),
        (RAMP.astype(np.int16), 16, 2, "whole numbers .* .mode I."),
        (RAMP.astype(np.int32), 32, 2, "whole numbers .* .mode I."),
        (RAMP.astype(np.uint32), 32, 1, "whole numbers .* .mode I."),
    ],
)
def test_numbers_of_unknown_range_are_refused_by_name(tmp_path, values, bits, sample_format, word):
    path = tmp_path / "numbers.tif"
    path.write_bytes(tiff(values, bits, sample_format))
    with pytest.raises(UnreadableImage, match=f"numbers.tif: its pixels are {word}.*save it with 8 or 16 bits"):
        read_image(str(path))
    assert "save it with 8 or 16 bits" in decode(str(path))


def test_a_sign_in_8_bits_is_refused_too(tmp_path):
    for sample_format in (1, 2):
        (tmp_path / "x.tif").write_bytes(tiff(np.array([[0, 127, 128, 255]], dtype=np.uint8), 8, sample_format))
        if sample_format == 1:
            assert grey(tmp_path / "x.tif").tolist() == [[0, 127, 128, 255]]
        else:
            with pytest.raises(UnreadableImage, match="x.tif: its pixels are whole numbers with a sign"):
                read_image(str(tmp_path / "x.tif"))


def test_transparency_is_dropped_and_the_first_image_counts(tmp_path):
    """As it always was: the colour below a transparent pixel shows; orientation is not applied."""
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert read_image(str(tmp_path / "clear.png")).getpixel((0, 0)) == (10, 20, 30)
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    for name in ("two.tif", "two.gif"):
        assert read_image(str(tmp_path / name)).getpixel((0, 0)) == (255, 0, 0)
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(turned, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(turned.getvalue())
    assert read_image(str(tmp_path / "turned.jpg")).size == (4, 2)
