"""Towers, feature store, warming and the choice of a device, on a make-believe GPU."""

from __future__ import annotations

import os

import pytest
import torch
import warm as warm_tool

from helpers.make_believe_gpu import make_believe
from simnl.clip.model import load_clip
from simnl.clip.projection import unprojected_texts
from simnl.clip.prompt_learning import LearnedPrompts, TextTower
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.devices import pick_device
from simnl.studies import warming
from simnl.studies.cells import Cell, Plan

PROMPTS = ["a photo of a dog.", "a photo of a very large cat."]
SHAPES = ("test-resnet", "test-vit")


@pytest.fixture(autouse=True)
def fresh_models():
    """A model is loaded once per process: those of a GPU that has gone are of no use."""
    load_clip.cache_clear()
    yield
    load_clip.cache_clear()


def features_of(arch, checkpoints, root, images, device, precision="fp32", **options):
    """Features of images and of prompts, from a store of their own."""
    clip = load_clip(arch, str(checkpoints[arch]), precision, device)
    store = FeatureStore(root / device / precision, clip, progress=False, **options)
    views = store.images(images, ViewSpec.random(clip.preprocess, (0.5, 1.0)), (0, 1))
    return views, store.texts(PROMPTS), clip


@pytest.mark.parametrize("arch", SHAPES)
def test_features_are_those_of_the_cpu(tmp_path, clip_checkpoints, image_files, arch, make_believe_gpu):
    theirs = features_of(arch, clip_checkpoints, tmp_path, image_files, "cpu")
    make_believe_gpu.reset()
    ours = features_of(arch, clip_checkpoints, tmp_path, image_files, "cuda")
    for gpu, cpu in zip(ours[:2], theirs[:2], strict=True):
        assert not gpu.is_cuda  # what the store gives is in the CPU's memory
        torch.testing.assert_close(gpu, cpu)
    assert ours[2].fingerprint == theirs[2].fingerprint
    assert all(tensor.is_cuda for tensor in ours[2].model.state_dict().values())
    assert make_believe_gpu.waits == {"cpu": 2}  # a batch of images, one of prompts


def test_workers_of_the_loader_need_no_gpu(tmp_path, clip_checkpoints, image_files, monkeypatch, make_believe_gpu):
    monkeypatch.setattr("simnl.clip.filling.WORKERS_PAY_FROM", 1)
    theirs = features_of("test-vit", clip_checkpoints, tmp_path, image_files, "cpu")
    ours = features_of("test-vit", clip_checkpoints, tmp_path, image_files, "cuda", num_workers=1)
    torch.testing.assert_close(ours[0], theirs[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("arch", SHAPES)
def test_half_precision(tmp_path, clip_checkpoints, image_files, arch, precision, make_believe_gpu):
    exact = features_of(arch, clip_checkpoints, tmp_path, image_files, "cpu")
    *half, clip = features_of(arch, clip_checkpoints, tmp_path, image_files, "cuda", precision)
    assert clip.text_precision == precision
    for gpu, cpu in zip(half, exact[:2], strict=True):
        assert gpu.dtype == torch.float32
        assert not torch.equal(gpu, cpu)
        torch.testing.assert_close(gpu, cpu, rtol=0.1, atol=0.05 * cpu.abs().max().item())
    prompts = LearnedPrompts(TextTower(clip), ["dog", "very large cat"], 2)
    context = torch.zeros(2, prompts.tower.width, device="cuda", requires_grad=True)
    prompts.tower.encode(prompts.tokens, prompts.embeddings(context), chunk=1).square().sum().backward()
    assert context.grad.isfinite().all()
    assert context.grad.abs().sum() > 0
    hidden, projection = unprojected_texts(clip, PROMPTS)
    assert hidden.is_cuda
    assert projection.is_cuda


def test_warming_on_a_gpu_fills_the_store(image_files, tmp_path):
    def cell(cuda):
        files = [CONFIGS / part for part in ("backbones/tiny.yaml", "datasets/imagefolder.yaml", "trainers/SimNL.yaml")]
        settings = {
            "TRAINER.NAME": "SimNL", "DATASET.FOLDER": str(folder), "SEED": 1, "USE_CUDA": cuda, "VIEWS.CACHE": 2,
            "STORE.ROOT": str(tmp_path / f"store{cuda}"), "DATASET.NUM_SHOTS": 1, "DATALOADER.NUM_WORKERS": 0,
        }  # fmt: skip
        return Cell(Plan("SimNL", "imagefolder", 1), 1, assemble(files, [], settings))

    folder = tmp_path / "classes"
    for number, path in enumerate(image_files):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        os.rename(path, folder / "ab"[number % 2] / f"{number}.png")
    expected = warming.warm([cell(False)])
    with make_believe(2):
        torch.cuda.set_device(1)
        assert warming.warm([cell(True)]) == expected > 0
        assert warming.clip_of(cell(True).cfg).model.logit_scale.device.index == 1
        assert warming.warm([cell(True)]) == 0


@pytest.mark.parametrize(
    ("gpus", "environment", "expected"),
    [
        (4, {"RANK": "6", "LOCAL_RANK": "2"}, 2),  # torchrun, second machine
        (1, {"RANK": "3", "LOCAL_RANK": "3"}, 0),  # the scheduler shows each process one GPU
        (2, {"RANK": "3", "LOCAL_RANK": "3"}, 1),  # more processes than GPUs
        (4, {"RANK": "3"}, 3),  # not torchrun
    ],
)
def test_each_process_that_warms_has_its_gpu(monkeypatch, gpus, environment, expected):
    seen = []
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in {**environment, "WORLD_SIZE": "8", "DEVICE": "auto"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["warm.py", "fewshot", "--datasets", "shapes"])
    monkeypatch.setattr("simnl.studies.definitions.cells_of", lambda request: [])

    def stand_in(configs, rank, world):
        seen.append((torch.cuda.current_device(), rank, world))
        return 0

    monkeypatch.setattr("simnl.studies.warming.warm", stand_in)
    with make_believe(gpus):
        assert warm_tool.main() == 0
    assert seen == [(expected, int(environment["RANK"]), 8)]


def test_a_gpu_is_used_where_there_is_one(monkeypatch):
    assert pick_device("auto") is False
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with make_believe():
        assert pick_device("auto") is pick_device("cuda") is True
        assert pick_device("cpu") is False
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
        assert pick_device("cuda:1") is True
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"  # which then is `cuda` alone
