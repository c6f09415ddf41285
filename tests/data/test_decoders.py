"""Decoders of JPEG files by name: what they decode, what they leave to Pillow, and how features are told apart."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from helpers.stores import plain, store_at
from simnl.clip.views import ViewSpec
from simnl.data.decoders import PILLOW, check_decoder, decode_jpeg, with_version
from simnl.data.images import UnreadableImage, decode_image, read_image
from simnl.fewshot.inputs import decoded_by

FAST = "simplejpeg"
installed = pytest.mark.skipif(find_spec(FAST) is None, reason=f"{FAST} is not installed: pip install {FAST}")


def saved(image: Image.Image, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


@pytest.fixture
def photo() -> bytes:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return saved(small.resize((80, 60), Image.Resampling.BICUBIC))


def test_an_unknown_or_absent_decoder_is_told(random_clip, monkeypatch):
    with pytest.raises(ValueError, match="MODEL.BACKBONE.DECODER is 'turbo'. Choose one of pillow, simplejpeg"):
        decoded_by(random_clip, "turbo")
    monkeypatch.setattr("simnl.data.decoders.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="simplejpeg is not installed: run `pip install simplejpeg`, or take pillow"):
        decoded_by(random_clip, FAST)
    assert check_decoder(PILLOW) == PILLOW


def test_the_default_has_the_entries_that_it_had(random_clip, monkeypatch):
    """The digest is that of the version before there were decoders."""
    assert decoded_by(random_clip, PILLOW) is random_clip
    about = {"size": 48, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    known = "2bb65d22058f36de015aaf1ebd4d4afa26af8b4ad2c304b1c87ce8eab4c78799"
    monkeypatch.setattr("PIL.__version__", "13.0.0")
    assert ViewSpec.test(about).digest == known
    monkeypatch.setattr("PIL.__version__", "12.1.1.post0")  # as Pillow-SIMD calls itself
    assert ViewSpec.test(about).digest != known


@installed
def test_jpeg_files_of_grey_and_colour_are_decoded_by_it(photo):
    grey = saved(Image.open(io.BytesIO(photo)).convert("L"))
    for content in (photo, grey):
        image = decode_jpeg(content, FAST)
        assert (image.mode, image.size) == ("RGB", (80, 60))
        assert np.abs(np.asarray(image, dtype=int) - np.asarray(decode_image(content), dtype=int)).max() <= 2


@installed
def test_everything_else_is_pillow_s(tmp_path, photo):
    image = Image.open(io.BytesIO(photo))
    others = (saved(image, "PNG"), saved(image.convert("CMYK")), photo[: len(photo) // 2], b"no image")
    for content in others:
        assert decode_jpeg(content, FAST) is None
    assert decode_image(others[1], FAST).tobytes() == decode_image(others[1]).tobytes()
    messages = []
    for decoder in (PILLOW, FAST):
        (tmp_path / "cut.jpg").write_bytes(others[2])
        with pytest.raises(UnreadableImage, match="cut.jpg: image file is truncated") as caught:
            read_image(str(tmp_path / "cut.jpg"), decoder)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@installed
def test_features_have_entries_of_their_own(tmp_path, vit, photo, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(photo)
    fast = decoded_by(vit, FAST)
    used = []
    monkeypatch.setattr("simnl.clip.pending.decode_image", lambda *given: used.append(given[1]) or decode_image(*given))
    for clip in (vit, fast):
        store = store_at(tmp_path / "store", clip)
        store.warm([str(tmp_path / "a.jpg")], plain(clip))
        assert store.encoded_images == 1
    assert used == [PILLOW, FAST]
    before = plain(fast).digest
    monkeypatch.setattr("simnl.data.decoders.metadata.version", lambda name: "99")
    assert with_version(FAST) == "simplejpeg 99"
    assert plain(fast).digest != before
