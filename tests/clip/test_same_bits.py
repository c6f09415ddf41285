"""A row is the same bits whatever was encoded with it, and so are the figures made of it.

Every comparison here is exact, on every machine: the towers always see the same number of rows, and at that number
neither a row's place in the batch, nor its neighbours, nor one thread or two decides how a kernel adds up.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.images import make_images
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.projection import unprojected_texts
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.studies.cells import Plan, Setup, Variant, plan_cells
from simnl.studies.executor import execute
from simnl.studies.warming import share

MODELS = ("test-resnet", "test-vit", "tiny-clip")
IMAGES = 47  # more than one batch, and a rest
ELSEWHERE = ("seconds", "peak_memory_mb", "encoded_images", "timestamp", "environment", "device")
PROMPTS = [f"a {size} photo of {number} cats." for number in range(16) for size in ("small", "large", "very large one")]


@pytest.fixture(params=MODELS)
def model(request, clip_checkpoints) -> FrozenCLIP:
    if request.param == "tiny-clip":
        return load_clip("tiny-clip", "bundled")
    return load_clip(request.param, str(clip_checkpoints[request.param]))


@pytest.fixture
def threads():
    """Sets the number of threads; it is afterwards what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def image_files(tmp_path) -> list[str]:
    return make_images(tmp_path / "images", IMAGES)


def views_of(clip: FrozenCLIP) -> ViewSpec:
    return ViewSpec.random(clip.preprocess, (0.5, 1.0))


def store_at(path: Path, clip: FrozenCLIP, **options) -> FeatureStore:
    return FeatureStore(path, clip, progress=False, **options)


def parts(number: int) -> list[torch.Tensor]:
    """Which rows are encoded at once: one, few, from the middle, all in another order, some twice."""
    order = torch.randperm(number, generator=torch.Generator().manual_seed(0))
    return [torch.tensor([0]), torch.tensor([number - 1]), torch.arange(3, 10), order, order[:33], order[[5, 5, 1]]]


def test_rows_do_not_depend_on_each_other_or_on_threads(model, threads):
    generator = torch.Generator().manual_seed(1)
    size = ViewSpec.test(model.preprocess).size
    pixels, tokens = torch.randn(IMAGES, 3, size, size, generator=generator), model.tokenize(PROMPTS)
    images, texts = model.image_rows(pixels), model.text_rows(tokens)
    assert images.shape == (IMAGES, model.embed_dim)
    for number in (1, 2):
        threads(number)
        assert all(torch.equal(model.image_rows(pixels[rows]), images[rows]) for rows in parts(len(images)))
        assert all(torch.equal(model.text_rows(tokens[rows]), texts[rows]) for rows in parts(len(texts)))


def test_towers_see_one_number_of_rows(model, image_files, tmp_path, monkeypatch):
    seen = []
    for name in ("encode_image", "encode_text"):
        encode = getattr(FrozenCLIP, name)
        monkeypatch.setattr(FrozenCLIP, name, lambda self, x, encode=encode: (seen.append(len(x)), encode(self, x))[1])
    store = store_at(tmp_path / "store", model)
    store.images(image_files[:1], views_of(model), range(3))
    store.images(image_files, views_of(model), range(5))
    store.texts(PROMPTS)
    unprojected_texts(model, PROMPTS[:3])
    assert set(seen) == {model.batch_rows}


@pytest.mark.parametrize("model", ["test-vit"], indirect=True)
@pytest.mark.parametrize("options", [{"num_workers": 2}, {"batch_size": 1}, {"batch_size": 55}, {"batch_size": 200}])
def test_neither_workers_nor_the_size_of_what_is_read_matter(model, image_files, tmp_path, monkeypatch, options):
    monkeypatch.setattr("simnl.clip.filling.WORKERS_PAY_FROM", 1)
    first, second = (store_at(tmp_path / str(i), model, **given) for i, given in enumerate(({}, options)))
    assert torch.equal(*(store.images(image_files, views_of(model), range(3)) for store in (first, second)))
    assert torch.equal(*(store.texts(PROMPTS) for store in (first, second)))


def test_however_a_store_was_filled_it_holds_the_same_rows(model, image_files, tmp_path, threads):
    spec, views = views_of(model), (0, 1, 2)
    whole = store_at(tmp_path / "whole", model)
    features, texts = whole.images(image_files, spec, views), whole.texts(PROMPTS)
    assert torch.equal(store_at(tmp_path / "back", model).images(image_files[::-1], spec, views).flip(1), features)
    assert torch.equal(store_at(tmp_path / "back", model).texts(PROMPTS[::-1]).flip(0), texts)
    threads(2)
    resumed = store_at(tmp_path / "resumed", model)
    resumed.warm(image_files[5:7], spec, (1,))
    resumed.warm(image_files[::3], spec, (2, 0))
    resumed.texts(PROMPTS[3:4])
    assert torch.equal(resumed.images(image_files, spec, views), features)
    assert torch.equal(resumed.texts(PROMPTS), texts)
    for rank in range(3):
        for _, numbers, files in share({spec: {file: set(views) for file in image_files}}, rank, 3):
            store_at(tmp_path / "shared", model, exclusive=False).warm(files, spec, numbers)
    assert torch.equal(store_at(tmp_path / "shared", model).images(image_files, spec, views), features)


@pytest.mark.parametrize("rows", [(4,), (2, 5, 7), tuple(range(1, 30))])
def test_repaired_rows_are_what_they_were(model, image_files, tmp_path, caplog, rows):
    spec = ViewSpec.test(model.preprocess)
    features = store_at(tmp_path / "store", model).images(image_files, spec)
    texts = store_at(tmp_path / "store", model).texts(PROMPTS)
    for file in (tmp_path / "store" / "features").glob("*.sqlite"):
        with sqlite3.connect(file) as connection:
            connection.execute(f"UPDATE features SET crc = crc + 1 WHERE rowid IN ({', '.join(map(str, rows))})")
    again = store_at(tmp_path / "store", model)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(again.images(image_files, spec), features)
        assert torch.equal(again.texts(PROMPTS), texts)
    assert again.encoded_images == len(rows)
    assert caplog.text.count(f"{len(rows)} rows of") == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set of three classes, hard to tell apart, so that figures follow from small differences."""
    root = tmp_path_factory.mktemp("classes")
    files = make_images(root / "all", 90, size=48)
    for number, file in enumerate(files):
        home = root / "set" / ("cat", "dog", "fish")[number % 3]
        home.mkdir(parents=True, exist_ok=True)
        Path(file).rename(home / f"{number}.png")
    return root / "set"


def figures(root: Path, folder: Path, plans: list[tuple[str, int]], *options: str) -> dict:
    """What the runs report and learned, without how long they took and what they had to encode.

    Their store is cold at first.
    """
    given = ("DATASET.FOLDER", str(folder), "OPTIM.MAX_EPOCH", "3", "DATALOADER.NUM_WORKERS", "0", *options)
    setup = Setup(output=str(root / "output"), cache=str(root / "cache"), backbone="tiny")
    records = {}
    for method, shots in plans:
        (cell,) = plan_cells(setup, Plan(method, "imagefolder", shots, Variant("", given)), [1])
        record = execute(cell)
        records[method, shots] = {key: value for key, value in record.items() if key not in ELSEWHERE}
        learned = load_file(Path(cell.folder) / "head.safetensors")
        records[method, shots]["learned"] = {name: tensor.tolist() for name, tensor in learned.items()}
    return records


def test_figures_depend_neither_on_the_order_of_runs_nor_on_how_much_is_read_at_once(folder, tmp_path):
    plans = [(method, shots) for method in ("LinearProbe", "SimNL") for shots in (1, 2)]
    wanted = figures(tmp_path / "forwards", folder, plans)
    assert figures(tmp_path / "backwards", folder, plans[::-1]) == wanted
    assert figures(tmp_path / "one", folder, plans, "STORE.BATCH_SIZE", "1") == wanted
