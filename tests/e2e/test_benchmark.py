"""The matrix of runs, as a user types it: resumed, killed, beside another of its kind, with a failing cell."""

from __future__ import annotations

import os
import signal
import time

import pytest
from e2e_tools import records

SMALL = "bash scripts/benchmark.sh fewshot --datasets shapes --shots 1 2 --seeds 1 2 OPTIM.MAX_EPOCH 2"
FIGURES = ("method", "shots", "seed", "accuracy", "hparams", "best_epoch", "val_accuracy_per_epoch")


def figures(folder) -> list[dict]:
    return sorted(({key: r[key] for key in FIGURES} for r in records(folder)), key=lambda r: list(r.values())[:3])


def test_killed_twice_and_beside_another_it_gives_the_same_figures(shell, start, tmp_path):
    command = f"{SMALL} --methods TaskRes GDA"
    undisturbed = shell(command, OUTPUT=tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert undisturbed.stdout.count(" % in ") == 8
    for delay in (5, 6):
        process = start(command)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    beside = start(f"{command} > {tmp_path}/beside.txt")
    finished = shell(command)
    assert beside.wait() == finished.returncode == 0, finished.stderr
    assert figures(tmp_path / "output") == figures(tmp_path / "undisturbed")
    logs = finished.stdout, (tmp_path / "beside.txt").read_text()
    done = [line.split(": ")[0].split("] ")[1] for text in logs for line in text.splitlines() if " % in " in line]
    assert len(done) == len(set(done))  # no cell twice
    again = shell(command)
    assert "8 skipped" in again.stdout
    assert "TaskRes" in again.stdout


def test_two_processes_give_the_same_table(shell, tmp_path):
    command = f"{SMALL} --methods TaskRes GDA"
    alone = shell(command, OUTPUT=tmp_path / "alone")
    several = shell(f"{command} --jobs 2")
    assert alone.returncode == several.returncode == 0, several.stderr
    assert "2 local jobs started" in several.stdout
    assert figures(tmp_path / "output") == figures(tmp_path / "alone")


def test_a_failing_cell_stops_no_other(shell, tmp_path):
    made = shell(
        "bash scripts/benchmark.sh fewshot --methods TaskRes ZeroshotCLIP --datasets dtd shapes --shots 1 --seeds 1 "
        "--backbone tiny TRAINER.TASKRES.ALPHA nonsense",
        DATA=tmp_path / "nothing",
    )
    assert made.returncode == 1
    assert "ALPHA: expected float" in made.stderr
    made = shell(
        "bash scripts/benchmark.sh fewshot --methods TaskRes ZeroshotCLIP --datasets dtd shapes --shots 1 --seeds 1 "
        "--backbone tiny OPTIM.NAME nonsense",
        DATA=tmp_path / "nothing",
    )
    assert made.returncode == 1
    assert "ZeroshotCLIP dtd 1 shots seed 1: " in made.stderr  # no such data
    assert "TaskRes shapes 1 shots seed 1: " in made.stderr  # no such optimiser
    assert "log.txt" in made.stderr
    assert "Traceback" not in made.stderr
    (record,) = records(tmp_path / "output")
    assert (record["method"], record["dataset"]) == ("ZeroshotCLIP", "shapes")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop(start, sign, tmp_path):
    process = start(f"exec {SMALL} --methods CrossModalLP SimNL OPTIM.MAX_EPOCH 4000")
    time.sleep(9)
    process.send_signal(sign)
    assert process.wait(20) == 130


def test_studies(shell, tmp_path):
    short = "OPTIM.MAX_EPOCH 1 TRAINER.SIMNL.GRID.BETA '[0, 20, 4]'"
    noise = shell(f"bash scripts/noise.sh shapes 2 --methods SimNL GDA --seeds 1 {short}")
    assert noise.returncode == 0, noise.stderr
    made = records(tmp_path / "output")
    assert sorted({r["label_noise"] for r in made}) == [0.0, 0.1, 0.3, 0.5]
    assert sum("TRAINER.SIMNL.REWEIGHT_POSITIVE" in r["options"] for r in made) == 4
    assert len(made) == 12
    novel = shell("bash scripts/base2new.sh CLIPAdapter shapes 1 --seeds 1 OPTIM.MAX_EPOCH 1", OUTPUT=tmp_path / "b")
    assert novel.returncode == 0, novel.stderr
    assert "harmonic mean" in novel.stdout
    refused = shell("bash scripts/base2new.sh SimNL shapes 1 --seeds 1", OUTPUT=tmp_path / "b")
    assert refused.returncode == 0
    assert "Not applicable" in refused.stdout


def test_help_and_dry_run(shell):
    explained = shell("bash scripts/simnl/ablation.sh --help")
    assert explained.returncode == 0
    assert "sensitivity.sh" in explained.stdout
    planned = shell("bash scripts/simnl/ablation.sh shapes 16 --jobs 2 --seeds 1 --dry-run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("to run") == 13
    assert "local job 2 of 2: CPU" in planned.stdout
    for flags, word in {
        "--shots none": "'none' is no whole number",
        "--jobs 2 --gpus 2": "give one of them",
        "--slurm partition=x": "goes with --executor slurm",
        "--methods SimNLL": "Did you mean SimNL?",
        "--what": "--what",
    }.items():
        failed = shell(f"bash scripts/benchmark.sh fewshot --datasets shapes {flags}")
        assert failed.returncode == 1, flags
        assert word in failed.stderr
        assert "Traceback" not in failed.stderr
