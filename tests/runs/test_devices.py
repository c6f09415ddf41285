"""Which GPU a process gets; what DEVICE, --jobs and --gpus mean together."""

from __future__ import annotations

import json
import os

import pytest
import torch

from simnl.runs.devices import VISIBLE, devices_of, pick_device, visible_gpus
from simnl.studies.cells import Setup
from simnl.studies.definitions import Request
from simnl.studies.launch import Workers
from simnl.studies.workers import Worker, chosen_threads


@pytest.fixture
def machine(monkeypatch):
    """A machine with some GPUs, of which CUDA_VISIBLE_DEVICES shows some; None: it is not set."""

    def make(count: int, visible: str | None = None):
        if visible is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, visible)

        def seen() -> int:
            given = os.environ.get(VISIBLE)
            return count if given is None else len([name for name in given.split(",") if name and int(name) < count])

        monkeypatch.setattr(torch.cuda, "device_count", seen)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: seen() > 0)

    yield make
    os.environ.pop(VISIBLE, None)  # what a test set; monkeypatch puts back what was there before


@pytest.mark.parametrize(
    ("visible", "device", "left"),
    [
        (None, "cuda:2", "2"),
        ("4,5,7", "cuda:2", "7"),
        ("4, 5", "cuda:1", "5"),
        ("4,5", "cuda", "4,5"),
        ("6", "auto", "6"),
    ],
)
def test_a_gpu_is_one_of_the_visible_ones(machine, visible, device, left):
    machine(8, visible)
    assert pick_device(device) is True
    assert os.environ[VISIBLE] == left


def test_a_gpu_that_is_not_there(machine):
    machine(2)
    with pytest.raises(RuntimeError, match="cuda:2"):
        pick_device("cuda:2")
    machine(8, "4,5")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES is '4,5'"):
        pick_device("cuda:2")
    machine(0)
    assert pick_device("auto") is pick_device("cpu") is False
    with pytest.raises(RuntimeError, match="sees no GPU"):
        pick_device("cuda")
    for word in ("gpu", "cpu:1", "cuda:x"):
        with pytest.raises(ValueError, match=word):
            pick_device(word)


def test_each_process_gets_a_visible_gpu_of_its_own(machine):
    machine(4)
    assert visible_gpus() == ["0", "1", "2", "3"]
    assert devices_of("local", 1, 2, "auto") == (True, ("0", "1"))
    machine(8, "3, 6,7")
    workers = Workers.from_flags("local", 1, 2, (), "auto")
    assert workers.gpus == ("3", "6")
    assert workers.describe() == ["local job 1 of 2: GPU 3", "local job 2 of 2: GPU 6"]
    assert devices_of("local", 1, 1, "cuda:2") == (True, ("7",))
    machine(8, "3,6,7")
    with pytest.raises(ValueError, match="--gpus is 4, but PyTorch sees 3 GPUs"):
        devices_of("local", 1, 4, "auto")
    machine(0)
    with pytest.raises(ValueError, match="--gpus is 1, but PyTorch sees 0 GPUs"):
        devices_of("local", 1, 1, "auto")


def test_a_cluster_does_not_depend_on_the_machine_that_submits(machine):
    for count in (0, 2):
        machine(count)
        assert devices_of("slurm", 1, 8, "auto") == devices_of("slurm", 1, 8, "cuda") == (True, ())
        assert devices_of("slurm", 4, 0, "auto") == devices_of("slurm", 1, 0, "cpu") == (False, ())
        workers = Workers.from_flags("slurm", 1, 2, ["partition=gpu"], "auto")
        assert workers.describe()[1] == "slurm job 2 of 2: 1 GPU partition=gpu"


def test_processes_without_a_gpu(machine):
    machine(2)
    assert devices_of("local", 1, 0, "auto") == (True, ())  # this process
    assert devices_of("local", 2, 0, "auto") == (False, ())
    assert Workers.from_flags("local", 2, 0, (), "auto").describe()[0] == "local job 1 of 2: CPU"
    assert Workers.from_flags("local", 1, 0, (), "auto").describe() == ["local job 1 of 1: 1 GPU"]


@pytest.mark.parametrize(
    ("executor", "jobs", "gpus", "device"),
    [("local", 1, 1, "cpu"), ("slurm", 1, 1, "cpu"), ("local", 2, 0, "cuda"), ("slurm", 1, 0, "cuda"),
     ("slurm", 1, 2, "cuda:1"), ("slurm", 1, 2, "tpu")],
)  # fmt: skip
def test_what_contradicts_itself(machine, executor, jobs, gpus, device):
    machine(4)
    with pytest.raises(ValueError, match=device):
        devices_of(executor, jobs, gpus, device)


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("", 0), (None, 0), ("4,2", 0), ("\u00b2", 0), ("-1", 0)])
def test_the_number_of_threads_may_be_chosen(monkeypatch, text, number):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert chosen_threads() == number


def test_a_process_takes_its_gpu_or_says_that_there_is_none(machine, monkeypatch, tmp_path):
    monkeypatch.setattr("simnl.studies.definitions.cells_of", lambda request: [])
    body = json.dumps(Request("fewshot", Setup(cuda=True)).to_json())
    machine(8, "")  # as submitit starts processes on this machine
    Worker(body, 2, str(tmp_path), threads=1, gpus=("3", "6"))(1)
    assert os.environ[VISIBLE] == "6"
    machine(0)
    with pytest.raises(RuntimeError, match="sees no GPU on"):
        Worker(body, 2, str(tmp_path), threads=1)(1)
