"""The README's main job and its neighbours, as a user types them."""

from __future__ import annotations

import ast
import os
import re
import signal
import time
from pathlib import Path

import benchmark
import pytest
import run

from helpers.e2e_tools import REPO, records
from helpers.images import make_images

FIGURES = ("accuracy", "hparams", "best_epoch", "val_accuracy_per_epoch", "num_val", "num_test")


def figures(record: dict) -> dict:
    return {key: record[key] for key in FIGURES}


def test_simnl_beats_zero_shot_on_shapes(shell, tmp_path):
    zero = shell("bash scripts/zeroshot/main.sh shapes 16", SEEDS="1")
    assert zero.returncode == 0, zero.stdout + zero.stderr
    ours = shell("bash scripts/simnl/main.sh shapes 16", COLUMNS="100")
    assert ours.returncode == 0, ours.stdout + ours.stderr
    by_method = {r["method"]: r for r in records(tmp_path / "output")}
    assert {r["seed"] for r in records(tmp_path / "output") if r["method"] == "SimNL"} == {1, 2, 3}
    assert 35 <= by_method["ZeroshotCLIP"]["accuracy"] <= 75
    for record in records(tmp_path / "output"):
        if record["method"] == "SimNL":
            assert record["accuracy"] >= by_method["ZeroshotCLIP"]["accuracy"] + 8
            assert (record["shots"], record["preset"], record["protocol"]) == (16, "repaired", "fewshot-val")
            assert record["num_settings"] == 200 * 40 * 20
            assert record["prompts"] == ["cupl", "negative", "template"]
    said, table = ours.stdout.split("In all rows: ")[1].split("\n", 1)
    assert said == "dataset shapes, backbone tiny, shots 16, preset repaired, protocol fewshot-val."
    assert re.search(r"SimNL +cupl\+negative\+template +\d\d\.\d\d ± \d\.\d\d +1 2 3", table)
    assert re.search(r"Zero-shot CLIP +template +\d\d\.\d\d +1\n", table)  # what was run before stands beside it

    again = shell("bash scripts/simnl/main.sh shapes 16", COLUMNS="100")
    assert again.stdout.count("done before, skipped") == 3
    assert again.stdout.endswith(ours.stdout[ours.stdout.index("In all rows: ") :])  # the same figures
    for fmt, mark in (("markdown", "| shapes"), ("latex", r"\begin{tabular}"), ("csv", "shapes,SimNL,tiny,16")):
        made = shell(f"$PYTHON tools/table.py $OUTPUT --format {fmt}")
        assert made.returncode == 0
        assert mark in made.stdout
    folder = next((tmp_path / "output").rglob("seed1"))
    assert {"result.json", "log.txt", "tensorboard", "head.safetensors", "head"} <= {p.name for p in folder.iterdir()}
    log = next(p for p in (tmp_path / "output").rglob("log.txt") if "SimNL" in str(p)).read_text()
    for line in (
        "Loading trainer: SimNL",
        "Loading dataset: Shapes",
        "Finish training",
        "=> result",
        "* accuracy: ",
        "epoch [1/",
    ):
        assert line in log


def test_one_shot(shell, tmp_path):
    done = shell("bash scripts/simnl/main.sh shapes 1 OPTIM.MAX_EPOCH 3", SEEDS="1")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert 35 < record["accuracy"] < 100


@pytest.mark.parametrize("options", [("official", "full-val"), ("repaired", "no-val"), ("official", "oracle-test")])
def test_presets_and_protocols(shell, tmp_path, options):
    preset, protocol = options
    command = "bash scripts/simnl/main.sh shapes 4 OPTIM.MAX_EPOCH 3 TRAINER.SIMNL.GRID.BETA '[0, 20, 10]'"
    done = shell(command, PRESET=preset, PROTOCOL=protocol, SEEDS="2")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["preset"], record["protocol"]) == options
    assert (record["num_val"] == 0) == (protocol == "no-val")
    assert (record["num_settings"] == 1) == (protocol == "no-val")
    if protocol == "oracle-test":
        assert record["num_val"] == record["num_test"]


@pytest.fixture
def mine(tmp_path) -> str:
    """The words of a script for a few images, which take no time."""
    for number, name in enumerate(("cat", "dog")):
        make_images(tmp_path / "mine" / name, 12, size=30 + number)
    return f"imagefolder 2 DATASET.FOLDER {tmp_path}/mine"


def test_workers_change_no_figure(shell, tmp_path, mine):
    runs = []
    for workers in (0, 2):  # each from a cold store
        place = {"OUTPUT": tmp_path / f"out{workers}", "CACHE": tmp_path / f"cache{workers}"}
        command = f"bash scripts/simnl/main.sh {mine} OPTIM.MAX_EPOCH 5 DATALOADER.NUM_WORKERS {workers}"
        done = shell(command, SEEDS="1", BACKBONE="tiny", **place)
        assert done.returncode == 0, done.stderr
        runs += records(tmp_path / f"out{workers}")
    assert figures(runs[0]) == figures(runs[1])


def test_killed_at_any_moment_it_finishes_with_the_same_figures(shell, start, tmp_path, mine):
    """While features are encoded, and once epochs are stored."""
    command, given = f"bash scripts/simnl/main.sh {mine} TRAIN.CHECKPOINT_FREQ 2", {"SEEDS": "1", "BACKBONE": "tiny"}
    undisturbed = shell(command, OUTPUT=tmp_path / "undisturbed", **given)
    assert undisturbed.returncode == 0, undisturbed.stderr
    given["CACHE"] = tmp_path / "cold"
    for pattern in ("cold/features/**/*", "output/**/head/*"):
        process = start(command, **given)
        while not list(tmp_path.glob(pattern)):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not records(tmp_path / "output")
    finished = shell(command, **given)
    assert finished.returncode == 0, finished.stderr
    assert figures(records(tmp_path / "output")[0]) == figures(records(tmp_path / "undisturbed")[0])


def test_help_and_wrong_arguments(shell, refusal):
    explained = shell("bash scripts/simnl/main.sh --help")
    assert explained.returncode == 0
    for word in ("DATASET", "SHOTS", "PROTOCOL", "BACKBONE", "oxford_flowers", "shapes", "[1 2 3]"):
        assert word in explained.stdout
    failed = shell("bash scripts/simnl/main.sh shapes 16 OPTIM.LRR 1")
    assert failed.returncode == 1
    assert "unknown key OPTIM.LRR. Did you mean OPTIM.LR?" in failed.stderr
    assert "Traceback" not in failed.stderr
    for arguments, words in {
        "": ("DATASET and SHOTS are needed", "usage:", "imagenet_sketch"),
        "shapes": ("usage:",),
        "shape 16": ("Unknown data set 'shape'. Did you mean shapes?",),
        "stan 16": ("Did you mean stanford_cars?",),  # it begins so, and others are nearer by letters
        "./photos 16": ("For a folder of your own images give the name imagefolder, and DATASET.FOLDER",),
        "shapes many": ("SHOTS is 'many'",),
        "shapes 16 OPTIM.LR": ("has no value",),
        "shapes 16 TEST.FINAL_MODEL best_val": ("TEST.FINAL_MODEL is 'best_val'",),
    }.items():
        said = refusal(run.main, f"simnl {arguments}")
        for word in words:
            assert word in said, (arguments, said)


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"PROTOCOL": "test"}, "no-val, held-shot, fewshot-val"),
        ({"PRESET": "mine"}, "repaired, official"),
        ({"SEEDS": "one"}, "SEEDS is 'one'"),
        ({"DEVICE": "tpu"}, "auto, cpu, cuda"),
        ({"BACKBONE": "rn5"}, "Did you mean rn50"),
        ({"BACKBONE": "rn50", "WEIGHTS": "opnai"}, "openai"),
        ({"WEIGHTS": "/no/such/file.pt"}, "neither a file nor a weights tag"),
        ({"BACKBONE": "tiny", "WEIGHTS": "openai"}, "but the bundled tiny-clip has its own"),
        ({"TARGETS": "shape_noise"}, "Did you mean shapes_noise"),
    ],
)
def test_wrong_environment(refusal, variables, word):
    assert word in refusal(run.main, "simnl shapes 16", **variables)
    if {"PROTOCOL", "SEEDS"} & set(variables):  # both read the environment in one way
        assert word in refusal(benchmark.main, "fewshot --datasets shapes 16", **variables)


def test_missing_data_says_what_is_missing(shell, tmp_path):
    for dataset, folder in (("imagenet", "imagenet"), ("dtd", "dtd")):
        failed = shell(f"bash scripts/simnl/main.sh {dataset} 16", DATA=tmp_path / "nothing", BACKBONE="tiny")
        assert failed.returncode == 1
        assert str(tmp_path / "nothing") in failed.stderr
        assert folder in failed.stderr
        assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "output").rglob("result.json"))


def test_train_py_with_dassls_options(shell, tmp_path):
    options = "--trainer SimNL --dataset-config-file configs/datasets/shapes.yaml --seed 3"
    train = (
        f"$PYTHON tools/train.py {options} --output-dir $OUTPUT DATASET.NUM_SHOTS 2 OPTIM.MAX_EPOCH 4 STORE.ROOT $CACHE"
    )
    done = shell(train)
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert record["seed"] == 3
    evaluate = (
        f"$PYTHON tools/train.py {options} --output-dir $OUTPUT-eval --eval-only --model-dir $OUTPUT {{}} "
        "DATASET.NUM_SHOTS 2 STORE.ROOT $CACHE"
    )
    for extra in ("", "--load-epoch 4"):
        result = shell(evaluate.format(extra))
        assert result.returncode == 0, result.stderr
        (accuracy,) = re.findall(r"\* accuracy: ([\d.]+)%", result.stdout)
        if not extra:  # the deployed head: best epoch, searched hyper-parameters
            assert float(accuracy) == pytest.approx(record["accuracy"], abs=0.051)
    prepared = shell(
        f"$PYTHON tools/train.py {options} --output-dir $OUTPUT-none --no-train DATASET.NUM_SHOTS 2 STORE.ROOT $CACHE"
    )
    assert prepared.returncode == 0, prepared.stderr
    assert not (tmp_path / "output-none" / "result.json").exists()
    stale = shell(train.replace("--seed 3", "--seed 4"))
    assert stale.returncode == 1
    assert "holds another run: SEED is 3 there and 4 here" in stale.stderr
    assert records(tmp_path / "output") == [record]
    nowhere = shell(evaluate.format("").replace("--model-dir $OUTPUT", "--model-dir $OUTPUT-nowhere"))
    assert nowhere.returncode == 1
    assert "Error: There is no trained head at" in nowhere.stderr
    assert "Traceback" not in nowhere.stdout + nowhere.stderr
    wrong = shell("$PYTHON tools/train.py --trainer SimNL --dataset-config-file configs/datasets/shaps.yaml")
    assert wrong.returncode == 1
    assert "no such file" in wrong.stderr


def test_test_labels_decide_nothing(cache, tmp_path, monkeypatch):
    """Permuting the test labels changes no trained weight and no chosen hyper-parameter."""
    import torch

    from simnl.data.base import FewShotDataset
    from simnl.fewshot.checkpoint import load_head
    from simnl.locations import CONFIGS
    from simnl.runs.config import assemble
    from simnl.runs.run import run_one

    def run(name: str) -> tuple[dict, dict]:
        files = [
            CONFIGS / "backbones" / "tiny.yaml",
            CONFIGS / "datasets" / "shapes.yaml",
            CONFIGS / "trainers" / "SimNL.yaml",
        ]
        settings = {"TRAINER.NAME": "SimNL", "OUTPUT_DIR": str(tmp_path / name), "STORE.ROOT": str(cache), "SEED": 1}
        cfg = assemble(files, ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "3"], settings)
        return run_one(cfg), load_head(tmp_path / name / "head.safetensors")[0]

    plain, head = run("plain")
    test = FewShotDataset.test.fget

    def permuted(self):
        items = test(self)
        return [type(item)(item.impath, (item.label + 1) % self.num_classes, 0, item.classname) for item in items]

    monkeypatch.setattr(FewShotDataset, "test", property(permuted))
    changed, changed_head = run("permuted")
    assert changed["accuracy"] != plain["accuracy"]
    for key in ("hparams", "best_epoch", "val_accuracy_per_epoch"):
        assert changed[key] == plain[key]
    assert all(torch.equal(head[name], changed_head[name]) for name in head)


def test_only_upstreams_names_are_imported():
    """The plugin must run on upstream Dassl too: contract section 1."""
    allowed = {
        "dassl.config": {"get_cfg_default"},
        "dassl.data": {"DataManager", "DatasetWrapper"},
        "dassl.data.datasets": {"DATASET_REGISTRY", "Datum", "DatasetBase", "build_dataset"},
        "dassl.engine": {"TRAINER_REGISTRY", "TrainerX", "build_trainer"},
        "dassl.evaluation": {"build_evaluator"},
        "dassl.metrics": {"compute_accuracy"},
        "dassl.optim": {"build_optimizer", "build_lr_scheduler"},
        "dassl.utils": {"setup_logger", "set_random_seed", "load_checkpoint"},
    }
    found = 0
    folders = ("simnl", "trainers", "datasets", "tools")
    for path in (path for folder in folders for path in Path(REPO / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] == "dassl" for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dassl":
                names = {alias.name for alias in node.names}
                assert names <= allowed.get(node.module, set()), f"{path}: {names} from {node.module}"
                found += len(names)
    assert found > 10
