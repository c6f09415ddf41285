"""Warming: what runs will read, shared among processes, gives the same store."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import warm as warm_tool

from dassl.engine import TRAINER_REGISTRY
from datasets.shapes import dataset as shapes
from datasets.shapes.dataset import Shapes
from simnl.clip.model import FrozenCLIP
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.config_names import known
from simnl.fewshot.sources import Sources
from simnl.studies.cells import Cell, Plan, Setup, Variant, build_cells, build_config, plan_cells
from simnl.studies.executor import execute
from simnl.studies.warming import by_store, clip_of, encode_prompts, needs_of, share, total_needs, union, warm

SPEC = ViewSpec(32, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest", (0.5, 1.0))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; `shapes` has two test images per class."""
    monkeypatch.setattr(shapes, "SPLITS", {**shapes.SPLITS, "train": 16, "val": 4, "test": 2})
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_every_view_falls_to_one_process():
    needs = {SPEC: {f"{i}.png": {0, 1} if i % 3 else {4} for i in range(11)}}
    parts = [share(needs, rank, 3) for rank in range(3)]
    seen = [(path, view) for part in parts for _, views, paths in part for path in paths for view in views]
    wanted = [(path, view) for path, views in needs[SPEC].items() for view in views]
    assert sorted(seen) == sorted(wanted)
    assert union([needs, {SPEC: {"0.png": {9}}}])[SPEC]["0.png"] == {4, 9}


def test_two_processes_fill_the_store_as_one_does(vit, image_files, tmp_path):
    stores = {}
    for world in (1, 2):
        for rank in range(world):
            stores[world] = FeatureStore(tmp_path / str(world), vit, exclusive=False, progress=False)
            for spec, views, paths in share({SPEC: {path: {0, 1, 2} for path in image_files}}, rank, world):
                stores[world].warm(paths, spec, views)
                assert stores[world].encoded_images == len(image_files) * 3 // world
    alone, shared = (stores[world].images(image_files, SPEC, (0, 1, 2)) for world in (1, 2))
    assert torch.equal(shared, alone)
    assert stores[2].encoded_images == len(image_files) * 3 // 2  # nothing was left to encode


def test_a_warmed_run_encodes_nothing(tmp_path, cache, monkeypatch):
    """The authors' way, with two draws and new views; of the model only the number of encoded views matters."""
    variant = Variant("", ("PRESET", "official", "OPTIM.MAX_EPOCH", "2"))
    setup = Setup(output=str(tmp_path / "output"), cache=str(cache))
    (cell,) = plan_cells(setup, Plan("SimNL", "shapes", 1, variant), [1])
    specs = needs_of(cell.cfg)
    assert len(specs) == 2  # the test transform and the random one
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, pixels: torch.ones(len(pixels), self.embed_dim))
    wanted = sum(len(views) for images in specs.values() for views in images.values())
    assert warm([cell]) == wanted
    record = execute(cell)
    assert record["encoded_images"] == 0
    assert np.isfinite(record["accuracy"])


def cell_of(method, *options):
    (cell,) = plan_cells(Setup(), Plan(method, "shapes", 2, Variant("", options)), [1])
    return cell


def test_images_that_are_held_out_are_warmed_under_the_test_transform():
    plain, held = (needs_of(cell_of("TipAdapter", "PROTOCOL", name).cfg) for name in ("no-val", "held-shot"))
    test, train = plain
    classes = len(plain[train]) // 2
    assert len(held[test]) == len(plain[test]) + classes
    assert held[train] == plain[train]


def test_features_before_the_projection_have_a_store_of_their_own():
    cells = [cell_of(method) for method in ("TipAdapter", "ProLIP", "TaskRes")]
    assert sorted(len(group) for group in by_store(cells)) == [1, 2]
    assert clip_of(cells[1].cfg).image_projection is not None


class Texts:
    """A store that remembers the sentences that it was asked for."""

    def __init__(self):
        self.asked: set[str] = set()

    def texts(self, sentences):
        self.asked.update(sentences)
        return torch.zeros(len(sentences), 1)


OPTIONS = [
    *((name, ()) for name in known("trainers")),
    *((name, (f"TRAINER.{name.upper()}.NEGATIVE.ENABLED", "True")) for name in ("TipAdapterF", "TaskRes", "CoOp")),
    ("ZeroshotCLIP", ("TRAINER.ZEROSHOTCLIP.PROMPTS", "mixture")),
]


@pytest.mark.parametrize(("method", "options"), OPTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_prompts_that_are_warmed_are_those_of_the_run(method, options, monkeypatch, tmp_path):
    """What warming encodes is what the trainer asks the store for when it builds its task."""
    cfg = build_config(Setup(backbone="tiny"), Plan(method, "shapes", 1, Variant("", options)))
    names = tuple(json.loads((Shapes.bundled_dir / cfg.PROMPTS.CUPL).read_text()))
    dataset = SimpleNamespace(
        lab2cname=dict(enumerate(names)), num_classes=len(names), root=tmp_path, prompt_folders=Shapes.prompt_folders
    )
    monkeypatch.setattr("simnl.studies.warming.build_dataset", lambda cfg: dataset)
    warmed, read = Texts(), Texts()
    encode_prompts(cfg, warmed)
    trainer = TRAINER_REGISTRY.get(method).__new__(TRAINER_REGISTRY.get(method))
    trainer.cfg, trainer.store, trainer.device, trainer.sources = cfg, read, torch.device("cpu"), Sources()
    trainer.clip = SimpleNamespace(embed_dim=1, image_dim=1, logit_scale=1.0, image_projection=None)
    trainer.build_task(dataset, names, None)
    assert warmed.asked == read.asked
    negative = {template.format(name) for template in cfg.PROMPTS.NEGATIVE for name in names}
    assert negative.issubset(warmed.asked) == (method in ("SimNL", "WithNegative") or "ENABLED" in "".join(options))


def test_total_needs_count_what_runs_share_once(monkeypatch):
    parts = {
        "a": {SPEC: {"1.png": {0, 1}, "2.png": {0}}},
        "b": {SPEC: {"1.png": {1, 2}}},
        "other model": {SPEC: {"1.png": {0}}},
    }
    monkeypatch.setattr("simnl.studies.warming.needs_of", parts.get)
    shared = {"arch": "tiny-clip", "precision": "fp32", "image_projection": None, "patches": 0}
    weights = {name: SimpleNamespace(fingerprint=name.partition(" ")[2], **shared) for name in parts}
    monkeypatch.setattr("simnl.studies.warming.clip_of", weights.get)
    cells = [Cell(Plan("A", "shapes", 1), seed, name) for seed, name in enumerate(parts)]
    assert total_needs([Cell(Plan("A", "shapes", 1), 9, refusal="no"), *cells]) == (5, 2)


@pytest.mark.parametrize(("rank", "world", "code"), [(0, 1, 1), (0, 2, 0), (1, 2, 0)])
def test_what_is_missing_is_told_once_and_ends_no_other_process(tmp_path, monkeypatch, capsys, rank, world, code):
    for name, value in {"DATA": tmp_path, "CACHE": tmp_path, "RANK": rank, "WORLD_SIZE": world}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("SEEDS", raising=False)
    words = ["fewshot", "--datasets", "dtd", "--shots", "1", "2", "--methods", "GDA"]
    monkeypatch.setattr("sys.argv", ["warm.py", *words])
    assert warm_tool.main() == code
    said = capsys.readouterr().err
    seeds = ", ".join(f"GDA dtd 1 shot seed {seed}" for seed in (1, 2, 3))
    assert said.count(f"{seeds}, 3 more: DescribableTextures: ") == said.count("DescribableTextures") == (rank == 0)


def test_a_run_without_its_data_or_prompts_stops_no_other(cache, monkeypatch):
    def fails_for(seed: int, function):
        def call(cfg, *args, **kwargs):
            if seed == cfg.SEED:
                raise FileNotFoundError(f"nothing for {seed}")
            return function(cfg, *args, **kwargs)

        return call

    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, pixels: torch.ones(len(pixels), self.embed_dim))
    monkeypatch.setattr("simnl.studies.warming.needs_of", fails_for(1, needs_of))
    monkeypatch.setattr("simnl.studies.warming.encode_prompts", fails_for(3, encode_prompts))
    cells = build_cells(Setup(cache=str(cache), backbone="tiny"), [Plan("ZeroshotCLIP", "shapes", 1)], [1, 2, 3])
    assert warm(cells) == 2 * 40
    assert [cell.error for cell in cells] == ["nothing for 1", "", "nothing for 3"]


@pytest.mark.parametrize("flag", ["--jobs", "--gpus=2", "--executor", "--slurm"])
def test_the_tool_refuses_flags_that_start_processes(flag):
    with pytest.raises(ValueError, match="torchrun"):
        warm_tool.parse(["fewshot", flag, "2"])
    with pytest.raises(ValueError, match="--job"):
        warm_tool.parse(["fewshot", "--job", "2"])


def test_the_tool_encodes_the_default_methods_and_a_dry_run_nothing(tmp_path, cache, monkeypatch, capsys):
    """As its help says; of the model only the number of encoded views matters."""
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, pixels: torch.ones(len(pixels), self.embed_dim))
    for name, value in {"OUTPUT": tmp_path / "output", "CACHE": cache, "BACKBONE": "tiny"}.items():
        monkeypatch.setenv(name, str(value))
    said, words = [], ["fewshot", "--datasets", "shapes", "--shots", "1", "--seeds", "1"]
    for more in (["--dry-run"], [], []):
        monkeypatch.setattr("sys.argv", ["warm.py", *words, *more])
        assert warm_tool.main() == 0
        said.append(capsys.readouterr().out)
        assert (cache / "features").exists() == (more == [])
    needed = int(said[0].split(": ")[1].split()[0])
    assert needed > 2 * 40
    assert f": {needed} views encoded" in said[1]
    assert ": 0 views encoded" in said[2]


def test_features_are_those_of_the_base_method():
    below = clip_of(cell_of("TransCLIP", "TRAINER.TRANSCLIP.BASE", "ProLIP").cfg)
    assert below.image_dim == clip_of(cell_of("ProLIP").cfg).image_dim
    assert below.image_projection is not None


def test_layers_of_equal_width_are_stores_of_their_own(monkeypatch):
    facts = {"arch": "a", "fingerprint": "f", "precision": "fp32", "image_dim": 8, "patches": 0}
    layers = {"TipAdapter": None, "ProLIP": object()}
    monkeypatch.setattr(
        "simnl.studies.warming.clip_of", lambda cfg: SimpleNamespace(**facts, image_projection=layers[cfg.TRAINER.NAME])
    )
    assert [len(group) for group in by_store([cell_of(name) for name in layers])] == [1, 1]
