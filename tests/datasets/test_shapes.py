"""The rendered benchmark: images, classes, splits, files."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.shapes import dataset as shapes
from datasets.shapes.classes import CLASSES, SPLITS
from datasets.shapes.dataset import Shapes, ShapesInverted, ShapesNoise, ShapesOutline, renderer_version
from datasets.shapes.figures import FIGURES
from datasets.shapes.render import PATTERNS, SIZE, STYLES, image_generator, render, sample_scene
from simnl.locations import CONFIGS
from simnl.runs.config import assemble


def picture(key: int, style: str = "photo") -> np.ndarray:
    rng = image_generator("test", "striped dax", key, style)
    return render(sample_scene(rng, "crescent", "striped", style), rng)


def cfg_for(name: str, store: Path, *options: str):
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / f"{name}.yaml"]
    return assemble(files, options, {"TRAINER.NAME": "ZeroshotCLIP", "STORE.ROOT": str(store), "SEED": 1})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def one_per_part(monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", {"train": 1, "val": 1, "test": 1})


def test_an_image_depends_on_its_key_alone():
    forwards, backwards = [picture(i) for i in range(4)], [picture(i) for i in reversed(range(4))]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    assert not np.array_equal(forwards[0], forwards[1])
    assert forwards[0].shape == (SIZE, SIZE, 3)
    assert forwards[0].dtype == np.uint8


def test_keys_do_not_run_together():
    assert image_generator("a", 11).random() != image_generator("a1", 1).random()


def test_styles_differ():
    pictures = [picture(0, style).astype(int) for style in STYLES]
    for i in range(len(STYLES)):
        for j in range(i):
            assert np.abs(pictures[i] - pictures[j]).mean() > 10


def test_outlines_have_no_colour_but_noise():
    grey = np.ptp(picture(1, "outline").astype(float).mean(axis=(0, 1)))
    assert grey < 3 < np.ptp(picture(1).astype(float).mean(axis=(0, 1)))


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_figure_and_pattern_can_be_seen(figure, pattern):
    rng = image_generator("visible", figure, pattern)
    assert render(sample_scene(rng, figure, pattern), rng).std() > 10


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="'blob'.*circle"):
        sample_scene(image_generator("x"), "blob", "striped")


def test_the_classes():
    assert [entry.label for entry in CLASSES] == list(range(40))
    assert len({entry.name for entry in CLASSES}) == len({(entry.figure, entry.pattern) for entry in CLASSES}) == 40
    assert sum(entry.opaque for entry in CLASSES) == 20


def test_the_data_set(store):
    dataset = Shapes(cfg_for("shapes", store, "DATASET.NUM_SHOTS", "16"))
    assert (len(dataset.train_x), len(dataset.val), len(dataset.full_val), len(dataset.test)) == (640, 160, 400, 1800)
    assert len(dataset.draw_train(2)) == 640
    assert dataset.classnames == [entry.name for entry in CLASSES]
    assert dataset.split_origin == "standard"
    assert dataset.root.is_relative_to(store)
    datum = dataset.test[123]
    sample, entry = Image.open(datum.impath), CLASSES[datum.label]
    assert (sample.mode, sample.size) == ("RGB", (SIZE, SIZE))
    rng = image_generator("test", entry.name, 123 % SPLITS["test"], "photo")
    assert np.array_equal(np.asarray(sample), render(sample_scene(rng, entry.figure, entry.pattern), rng))


def test_a_second_start_renders_nothing(store, monkeypatch):
    first = Shapes(cfg_for("shapes", store, "DATASET.NUM_SHOTS", "1"))
    monkeypatch.setattr(shapes, "render_image", None)  # calling it would fail
    again = Shapes(cfg_for("shapes", store, "DATASET.NUM_SHOTS", "1"))
    assert [datum.impath for datum in again.train_x] == [datum.impath for datum in first.train_x]
    assert again.split_hash == first.split_hash


@pytest.mark.parametrize("kind", [ShapesOutline, ShapesInverted, ShapesNoise])
def test_variants_are_for_evaluation_only(kind, tmp_path, one_per_part):
    variant = kind(cfg_for(kind.config_name, tmp_path, "DATASET.NUM_SHOTS", "16"))
    assert variant.eval_only
    assert (len(variant.test), variant.val, variant.full_val) == (40, None, None)
    assert variant.classnames == [entry.name for entry in CLASSES]
    rng = image_generator("test", CLASSES[0].name, 0, variant.style)
    expected = render(sample_scene(rng, CLASSES[0].figure, CLASSES[0].pattern, variant.style), rng)
    assert np.array_equal(np.asarray(Image.open(variant.test[0].impath)), expected)


def test_what_a_killed_process_left_is_completed(tmp_path, one_per_part):
    whole = Shapes(cfg_for("shapes", tmp_path, "DATASET.NUM_SHOTS", "1"))
    lost = Path(whole.test[7].impath)
    before = lost.read_bytes()
    half = lost.with_name(f".{lost.name}.0.tmp")
    half.write_bytes(before[:50])
    lost.unlink()
    Shapes(cfg_for("shapes", tmp_path, "DATASET.NUM_SHOTS", "1"))
    assert lost.read_bytes() == before
    assert not half.exists()


def digest_and_start(store: str) -> tuple[str, int]:
    shapes.SPLITS = {"train": 2, "val": 2, "test": 2}
    root = Shapes(cfg_for("shapes", Path(store), "DATASET.NUM_SHOTS", "1")).root
    return hashlib.sha256(picture(2).tobytes()).hexdigest(), len(list(root.rglob("*.png")))


def test_two_processes_at_once_render_the_same_and_every_image(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(digest_and_start, [str(tmp_path)] * 2, chunksize=1)
    assert results == [(hashlib.sha256(picture(2).tobytes()).hexdigest(), 240)] * 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "shapes").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"STORE\.ROOT"):
        Shapes(cfg_for("shapes", tmp_path, "DATASET.NUM_SHOTS", "1"))


def test_a_changed_renderer_makes_new_images(monkeypatch, tmp_path):
    before = renderer_version()
    changed = tmp_path / "render.py"
    changed.write_text("SIZE = 32\n")
    monkeypatch.setattr(shapes.renderer, "__file__", str(changed))
    assert renderer_version() != before
