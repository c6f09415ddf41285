"""The matrix of runs, as a user types it: resumed, killed, beside another of its kind, with a failing cell."""

from __future__ import annotations

import os
import signal
import time

from helpers.e2e_tools import records
from helpers.images import make_images

SMALL = "bash scripts/benchmark.sh fewshot --datasets shapes --shots 1 2 --seeds 1 2 OPTIM.MAX_EPOCH 2"
FIGURES = ("method", "shots", "seed", "accuracy", "hparams", "best_epoch", "val_accuracy_per_epoch")


def figures(folder) -> list[dict]:
    return sorted(({key: r[key] for key in FIGURES} for r in records(folder)), key=lambda r: list(r.values())[:3])


def test_killed_beside_another_or_in_two_processes_it_gives_the_same_figures(shell, start, tmp_path):
    command, output = f"{SMALL} --methods TaskRes GDA", tmp_path / "output"
    undisturbed = shell(command, OUTPUT=tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert undisturbed.stdout.count(" % in ") == 8
    for done in (1, 3):
        process = start(command)
        while len(records(output)) < done:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    beside = start(f"{command} > {tmp_path}/beside.txt")
    finished = shell(command)
    assert beside.wait() == finished.returncode == 0, finished.stderr
    assert figures(output) == figures(tmp_path / "undisturbed")
    logs = finished.stdout, (tmp_path / "beside.txt").read_text()
    done = [line.split(": ")[0].split("] ")[1] for text in logs for line in text.splitlines() if " % in " in line]
    assert len(done) == len(set(done))  # no cell twice
    assert shell(command).stdout.count("8 skipped") == 1
    several = shell(f"{command} --jobs 2", OUTPUT=tmp_path / "several")
    assert several.returncode == 0, several.stderr
    assert "2 local jobs started" in several.stdout
    assert figures(tmp_path / "several") == figures(tmp_path / "undisturbed")


def test_a_failing_cell_stops_no_other(shell, tmp_path):
    made = shell(
        "bash scripts/benchmark.sh fewshot --methods TaskRes ZeroshotCLIP --datasets dtd shapes --shots 1 --seeds 1 "
        "--backbone tiny OPTIM.NAME nonsense",
        DATA=tmp_path / "nothing",
    )
    assert made.returncode == 1
    assert "ZeroshotCLIP dtd 1 shot seed 1: " in made.stderr  # no such data
    assert "TaskRes shapes 1 shot seed 1: " in made.stderr  # no such optimiser
    assert "log.txt" in made.stderr
    assert "Traceback" not in made.stderr
    (record,) = records(tmp_path / "output")
    assert (record["method"], record["dataset"]) == ("ZeroshotCLIP", "shapes")


def test_a_polite_stop(start, tmp_path):
    process = start(f"exec {SMALL} --methods SimNL OPTIM.MAX_EPOCH 4000")
    while not list((tmp_path / "output").rglob("log.txt")):
        time.sleep(0.2)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


def test_studies(shell, tmp_path):
    short = "OPTIM.MAX_EPOCH 1 TRAINER.SIMNL.GRID.BETA '[0, 20, 4]'"
    noise = shell(f"bash scripts/noise.sh shapes 2 --methods SimNL GDA --seeds 1 {short}")
    assert noise.returncode == 0, noise.stderr
    made = records(tmp_path / "output")
    assert sorted({r["label_noise"] for r in made}) == [0.0, 0.1, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75]
    assert sum("TRAINER.SIMNL.REWEIGHT_POSITIVE" in r["options"] for r in made) == 8
    assert len(made) == 24
    novel = shell("bash scripts/base2new.sh CLIPAdapter shapes 1 --seeds 1 OPTIM.MAX_EPOCH 1", OUTPUT=tmp_path / "b")
    assert novel.returncode == 0, novel.stderr
    assert "harmonic mean" in novel.stdout


def test_cross_data_set_transfer(shell, tmp_path):
    for folder, names in (("source", ("cat", "dog")), ("target", ("bus", "car", "jet"))):
        for number, name in enumerate(names):
            make_images(tmp_path / "data" / folder / name, 8 + number, size=32)
    command = (
        "bash scripts/cross.sh CoOp imagefolder 1 --methods SimNL --targets target --seeds 1 "
        "--backbone tiny DATASET.FOLDER source OPTIM.MAX_EPOCH 1"
    )
    made = shell(command, DATA=tmp_path / "data")
    assert made.returncode == 0, made.stderr
    assert "Cross-data-set transfer from imagefolder-source" in made.stdout
    assert "imagefolder-target" in made.stdout
    assert "Not applicable:\n  SimNL on imagefolder: what it learns belongs to the classes of training" in made.stdout
    (one,) = records(tmp_path / "output")
    (name,) = one["targets"]
    assert (one["method"], name.partition("@")[0]) == ("CoOp", "cross:imagefolder-target")
