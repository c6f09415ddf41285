"""Unknown classes and metrics, as a user types the commands."""

from __future__ import annotations

import pytest

from helpers.e2e_tools import records

pytestmark = pytest.mark.slow


def test_known_against_unknown_classes(shell, tmp_path):
    command = "bash scripts/zeroshot/ood.sh shapes 1"
    wrong = shell(command, OUTLIERS="nwe", SEEDS="1")
    assert wrong.returncode == 1
    assert "Unknown outliers 'nwe'. Did you mean new?" in wrong.stderr
    assert not list((tmp_path / "output").rglob("head.safetensors"))  # told before anything is trained
    done = shell(command, OUTLIERS="new plain_noise", SEEDS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 1: AUROC of maxlogit: new " in done.stdout
    assert "shapes against plain_noise, 1 shot" in done.stdout
    (record,) = records(tmp_path / "output")
    assert (record["subsample_classes"], record["num_classes"]) == ("base", 20)
    again = shell(command, OUTLIERS="new plain_noise", SEEDS="1")
    assert "seed 1: outliers scored before, skipped" in again.stdout
    figures = shell(f"$PYTHON tools/evaluate.py {tmp_path}/output --format csv")
    assert f"{record['accuracy']}"[:8] in figures.stdout


def test_help_names_the_sets(shell):
    told = shell("bash scripts/simnl/ood.sh --help")
    assert told.returncode == 0
    assert "unseen_shapes, plain_textures, plain_noise" in told.stdout
    assert "scripts/simnl/ood.sh shapes 16" in told.stdout
