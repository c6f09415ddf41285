"""Methods of another distribution: its package is announced by an entry point and carries its own yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.images import make_images
from simnl import config_names
from simnl.config_names import GROUP, config_file, config_files, known
from simnl.locations import CONFIGS, ROOT

METHOD = """
from dassl.engine import TRAINER_REGISTRY
from simnl.fewshot.head import Head
from simnl.fewshot.trainer import VLTrainer
from yacs.config import CfgNode as CN


class LastHead(Head):
    def __init__(self, classes, weight):
        super().__init__()
        self.classes, self.weight = classes, weight

    def forward(self, features):
        logits = features.new_zeros(len(features), self.classes)
        logits[:, -1] = self.weight
        return logits


@TRAINER_REGISTRY.register()
class AlwaysLast(VLTrainer):
    training_free = True

    @classmethod
    def default_cfg(cls):
        return CN({"WEIGHT": 1.0})

    def build_head(self, task, cfg):
        assert cfg.WEIGHT == 3.0, "the yaml was not read"
        return LastHead(task.num_classes, cfg.WEIGHT)
"""
YAML = "DISPLAY_NAME: Always the last\nOPTIM: {MAX_EPOCH: 0}\nTRAINER: {ALWAYSLAST: {WEIGHT: 3.0}}\n"


@pytest.fixture
def distribution(tmp_path) -> Path:
    """What `pip install` leaves of a distribution `far-methods`, in a folder of its own."""
    site = tmp_path / "site"
    files = {
        "far_methods/__init__.py": "",
        "far_methods/always_last.py": METHOD,
        "far_methods/configs/trainers/AlwaysLast.yaml": YAML,
        "far_methods-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: far-methods\nVersion: 1.0\n",
        "far_methods-1.0.dist-info/entry_points.txt": f"[{GROUP}]\nfar = far_methods\n",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    return site


@pytest.fixture
def looked_for_anew():
    config_names.folders.cache_clear()
    yield
    config_names.folders.cache_clear()


def test_a_method_of_another_distribution_runs_with_its_own_yaml(distribution, tmp_path):
    for name in ("cat", "owl"):
        make_images(tmp_path / "mine" / name, 8, size=32)
    command = [
        sys.executable, "tools/train.py", "--trainer", "AlwaysLast", "--output-dir", str(tmp_path / "run"),
        "--dataset-config-file", str(CONFIGS / "datasets" / "imagefolder.yaml"), "--device", "cpu",
        "--backbone-config-file", str(CONFIGS / "backbones" / "tiny.yaml"), "DATASET.FOLDER", str(tmp_path / "mine"),
        "DATASET.NUM_SHOTS", "1", "STORE.ROOT", str(tmp_path / "cache"), "DATALOADER.NUM_WORKERS", "0",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(distribution)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (record["method"], record["accuracy"]) == ("AlwaysLast", 50.0)


def test_its_configs_are_known_by_name(distribution, monkeypatch, looked_for_anew):
    before = known("trainers")
    monkeypatch.syspath_prepend(distribution)
    config_names.folders.cache_clear()
    assert set(known("trainers")) - set(before) == {"AlwaysLast"}
    assert config_file("trainers", "AlwaysLast") == distribution / "far_methods/configs/trainers/AlwaysLast.yaml"
    assert config_file("trainers", "SimNL") == CONFIGS / "trainers" / "SimNL.yaml"
    assert known("datasets") == sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def test_two_configs_of_one_name_are_told(distribution, monkeypatch, looked_for_anew):
    folder = distribution / "far_methods/configs/trainers"
    (folder / "SimNL.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(distribution)
    config_names.folders.cache_clear()
    with pytest.raises(ValueError, match=r"SimNL.yaml and .*far_methods.*SimNL.yaml have the same name"):
        config_files("trainers")
