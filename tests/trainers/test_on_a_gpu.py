"""Every method on a make-believe GPU: devices are never mixed up, and the results are the CPU's.

Covered: training, selection, search, test, targets, checkpoints, resuming and loading, of every method and of the
options that take other paths; features, prompts and their store; autocast. Not covered, as a GPU's kernels and memory
are not there: rounding, speed, determinism; more in make_believe_gpu.py.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dassl.engine import TRAINER_REGISTRY
from helpers import tiny_vit
from helpers.gpu_tensor import GpuTensor
from helpers.make_believe_gpu import make_believe
from helpers.methods import METHODS
from simnl.fewshot.checkpoint import load_head
from simnl.fewshot.selection import predict
from simnl.fewshot.trainer import VLTrainer
from simnl.locations import CONFIGS
from simnl.results.plots.of_runs import RUN_KINDS
from simnl.results.plots.runs import prototypes, reload
from simnl.results.plots.series import Wanted
from simnl.results.tables import find_records
from simnl.runs.config import assemble
from simnl.runs.run import run_one, seeded_trainer

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40), "white": (240, 240, 240)}

EPOCHS = 3
IN_THE_AUTHORS_WAY = (  # which is more than other views and constants; that of SimNL is in OPTIONS
    "CCA", "CCAFT", "CLAP", "CrossModalLP", "LinearProbe", "LPPlusPlus", "LSN", "NLPrompt", "ProGrad", "PromptSRC",
    "ReHARK", "RPL", "TransCLIP", "TwoStage",
)  # fmt: skip
QUICK = {
    "OPTIM.MAX_EPOCH": EPOCHS,
    "DATASET.NUM_SHOTS": 2,
    "VIEWS.CACHE": 2,
    "VIEWS.TRAIN": 2,
    "VERBOSE": False,
    "TRAIN.CHECKPOINT_FREQ": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 5,
    "SWEEP": [],
    "PROMPTS.POSITIVE": ["a photo of a {}."],
    "PROMPTS.NEGATIVE": ["a photo without a {}."],
    "TRAINER.LINEARPROBE.MAX_ITER": 20,
    "TRAINER.CROSSMODALLP.EPOCH_STEPS": 4,
    "TRAINER.CLIPLORA.STEPS_PER_SHOT": 1,
    "TRAINER.CLIPSVD.STEPS_PER_SHOT": 1,
    "TRAINER.TWOSTAGE.STEPS_PER_SHOT": 1,
    "TRAINER.PROMPTSRC.TEMPLATES": ["a photo of a {}.", "a drawing of a {}."],
    "TRAINER.TASKRES.STAGE1.MAX_EPOCH": 2,
    "TRAINER.CCA.MIXING_STEPS": 3,
    "TRAINER.CCAFT.MIXING_STEPS": 3,
    "TRAINER.REHARK.TRIALS": 3,
    "TRAINER.TRANSCLIP.OUTER": 2,
}
TOWERS = ("MaPLe", "TwoStage", "MMRL")  # whose heads for new classes are built in ways of their own
BASE_TO_NEW = ("CoOp", "CoCoOp", "CLIPAdapter", "KgCoOp", "ProGrad", "ProLIP", *TOWERS)
NEW = ("DATASET.SUBSAMPLE_CLASSES", "base", "TEST.TARGETS", "['new']")
OPTIONS = [  # those that take paths of their own
    ("SimNL", "DATASET.LABEL_NOISE", "0.4"),
    ("SimNL", "PRESET", "official", "DATASET.LABEL_NOISE", "0.4"),
    ("SimNL", "SEARCH.MODE", "coarse-to-fine"),
    ("SimNL", "TRAINER.SIMNL.NEGATIVE_LOSS", "eq18", "DATASET.NUM_SHOTS", "1"),
    ("SimNL", "PROTOCOL", "oracle-test", "TRAINER.SIMNL.ADAPTERS", "['positive-cache']"),
    ("SimNL", "PROTOCOL", "no-val", "VIEWS.ORDER", "pool"),
    ("TipAdapterF", "TRAINER.TIPADAPTERF.NEGATIVE.ENABLED", "True", "DATASET.LABEL_NOISE", "0.4"),
    ("TipAdapter", "DATASET.LABEL_NOISE", "0.4"),
    ("APET", "DATASET.LABEL_NOISE", "0.4"),
    ("APE", "DATASET.LABEL_NOISE", "0.4"),
    ("GraphAdapter", "DATASET.LABEL_NOISE", "0.4"),
    ("TaskRes", "TRAINER.TASKRES.NEGATIVE.ENABLED", "True", "VIEWS.ORDER", "pool"),
    ("TaskRes", "TRAINER.TASKRES.BASE", "enhanced-ours"),
    ("CoOp", "TRAINER.COOP.NEGATIVE.ENABLED", "True", "TRAINER.COOP.CTX_INIT", "a photo of a"),
    ("CoOp", "TRAINER.COOP.CSC", "True", "TRAINER.COOP.POSITION", "middle", "TRAINER.COOP.CHUNK", "3"),
    ("CoCoOp", "TRAINER.COCOOP.CHUNK", "3", "TRAINER.COCOOP.CTX_INIT", ""),
    ("ProGrad", "TRAINER.PROGRAD.CHUNK", "3", "TRAINER.PROGRAD.CTX_INIT", ""),
    ("CLIPLoRA", "TRAINER.CLIPLORA.RECOMPUTE_FROM", "1", "SELECTION.EPOCH", "best"),
    ("MaPLe", "TRAINER.MAPLE.CHUNK", "3", "TRAINER.MAPLE.N_CTX", "5", "TRAINER.MAPLE.DEPTH", "1"),
    ("IVLP", "TRAINER.IVLP.DEPTH_VISION", "0"),
    ("TwoStage", "TRAINER.TWOSTAGE.CHUNK", "3", "TRAINER.TWOSTAGE.PARAMETERS", "biases"),
    ("CLIPSVD", "TRAINER.CLIPSVD.STEPS_PER_SHOT", "0", "TRAINER.CLIPSVD.CHUNK", "3", "TRAINER.CLIPSVD.SWING", "True"),
    ("TCP", "TRAINER.TCP.CHUNK", "3"),
    ("CLAP", "TRAINER.CLAP.MULTIPLIERS", "balanced"),
    ("CLIPAdapter", "SWEEP", "[['OPTIM.LR', [0.5, 0.001]]]"),
    *((method, "PROTOCOL", "held-shot") for method in ("TipAdapterF", "LinearProbe")),
    ("TransCLIP", "TRAINER.TRANSCLIP.BASE", "TipAdapterF", "PROTOCOL", "full-val"),
    ("TransCLIP", "TRAINER.TRANSCLIP.SUPPORT", "False"),
    ("TDA", "TRAINER.TDA.TEST_VIEWS", "3"),
    *((method, *NEW, "TEST.NEW_CLASSES", rule) for method, rule in (("TIMO", "neighbours"), ("TaskRes", "text"))),
    *((method, *NEW) for method in BASE_TO_NEW),
    *((m, "PRESET", "official", "OPTIM.MAX_EPOCH", str(EPOCHS), "SWEEP", "[]") for m in IN_THE_AUTHORS_WAY),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of four classes of plain colours under noise."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(9):
            noise = np.random.default_rng(zlib.crc32(f"{name} {number}".encode()))
            picture = np.clip(noise.normal(colour, 90, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Features of the CPU and of the GPU are not mixed."""
    return {cuda: tmp_path_factory.mktemp(f"store{cuda:d}") for cuda in (False, True)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a small ViT."""
    return tiny_vit.write(tmp_path_factory.mktemp("vit"))[1]


@pytest.fixture
def config(pictures, stores, weights, tmp_path):
    def make(method, cuda, *options, name=""):
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        files.append(CONFIGS / "trainers" / f"{method}.yaml")
        settings = {**QUICK, "TRAINER.NAME": method, "SEED": 1, "USE_CUDA": cuda, "DATASET.FOLDER": str(pictures)}
        if TRAINER_REGISTRY.get(method).needs_vit:
            settings |= {"MODEL.BACKBONE.ARCH": tiny_vit.ARCH, "MODEL.BACKBONE.WEIGHTS": str(weights)}
        settings["STORE.ROOT"] = str(stores[cuda])
        settings["OUTPUT_DIR"] = str(tmp_path / (name or ("gpu" if cuda else "cpu")))
        node = assemble(files, [], settings).TRAINER[method.upper()]
        for axis, (low, high, steps) in node.get("GRID", {}).items():
            settings[f"TRAINER.{method.upper()}.GRID.{axis}"] = [low, high, min(steps, 3)]
        settings = {key: value for key, value in settings.items() if key not in options}
        return assemble(files, options, settings)

    return make


class Killed(Exception):
    """In the place of kill -9."""


def interrupted(cfg, monkeypatch) -> dict:
    """The record of a run that is stopped before its last epoch, and started again."""
    before_epoch = VLTrainer.before_epoch

    def stop(trainer):
        if trainer.epoch == EPOCHS - 1:
            raise Killed
        before_epoch(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(VLTrainer, "before_epoch", stop)
        try:
            return run_one(cfg)
        except Killed:
            pass
    return run_one(cfg)


def same_on_both(config, tmp_path, method, *options, run=run_one) -> VLTrainer:
    """The run on the CPU; and on the GPU, where `run` makes it, and where what it learned is loaded again: in
    the trainer that is returned.

    Figures are equal by design: the make-believe GPU computes with the CPU's kernels, and all of it fits one block.
    """
    expected = run_one(config(method, False, *options))
    with make_believe():
        record = run(config(method, True, *options))
        trainer = seeded_trainer(config(method, True, *options, name="loaded"))
        trainer.load_model(str(tmp_path / "gpu"))
        assert trainer.test() == expected["accuracy"]
        items = [item for item in trainer.dm.dataset.test if item.label < 2]
        predict(trainer.head, trainer.inputs.stream(items), trainer.device, columns=[0, 1])
    assert record["device"] == "cuda"
    assert record["peak_memory_mb"]["gpu"] > 0
    for key in ("accuracy", "targets", "hparams", "swept", "num_settings", "val_accuracy_per_epoch", "best_epoch"):
        assert record[key] == expected[key], key
    ours, theirs = (load_file(tmp_path / where / "head.safetensors") for where in ("gpu", "cpu"))
    torch.testing.assert_close(ours, theirs)
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_a_run_gives_what_it_gives_on_a_cpu(config, tmp_path, monkeypatch, method):
    """Also when it is interrupted and resumed there. A step waits for the GPU twice at most: once to see that the loss
    is finite, once to log its terms.
    """
    step, waits = VLTrainer.forward_backward, []

    def counted(trainer, batch):
        rules = GpuTensor.rules
        before = rules.waits.total() if rules else 0
        result = step(trainer, batch)
        waits.append(rules.waits.total() - before if rules else 0)
        return result

    def run(cfg):
        return interrupted(cfg, monkeypatch)

    monkeypatch.setattr(VLTrainer, "forward_backward", counted)
    trainer = same_on_both(config, tmp_path, method, run=run)
    assert bool(waits) == trainer.trains
    assert max(waits, default=0) <= 2


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o)).replace("/", "_"))
def test_so_does_a_run_with_options(config, tmp_path, options):
    same_on_both(config, tmp_path, *options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((m, ()) for m in ("CoOp", "CoCoOp", "CLIPLoRA", *TOWERS, "CLIPSVD", "PromptSRC", "TCP")),
        ("TaskRes", ("TRAINER.TASKRES.BASE", "enhanced-ours")),
    ],
)
def test_towers_in_half_precision(config, tmp_path, method, options):
    """On a CPU text towers stay in single precision, so results differ there."""
    with make_believe():
        run_one(config(method, True, "MODEL.BACKBONE.PRECISION", "bf16", *options))
    learned, _ = load_head(tmp_path / "gpu" / "head.safetensors")
    assert learned
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in learned.values())


@pytest.mark.parametrize("method", ["SimNL", "CoOp", "ZeroshotCLIP"])
def test_figures_of_a_run(config, tmp_path, method):
    """Drawn where it ran, and where there is no GPU."""
    rows = []
    with make_believe():
        run_one(config(method, True))
        (record,) = find_records([tmp_path / "gpu"])
        for kind in ("confusion", "features"):
            assert RUN_KINDS[kind]([record], Wanted(projection="pca"))
        rows.append((reload(record).logits, prototypes(reload(record))))
    run = reload(record)
    assert run.trainer.device.type == "cpu"
    rows.append((run.logits, prototypes(run)))
    torch.testing.assert_close(*rows)
