"""--slurm: sbatch's names and times; what a submitted job asks for, with a stand-in for sbatch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import submitit

from simnl.studies.cells import Setup
from simnl.studies.definitions import Request
from simnl.studies.launch import Workers, follow, submit
from simnl.studies.slurm import NAMES, minutes, parse
from simnl.studies.workers import Worker


@pytest.fixture
def sbatch(tmp_path, monkeypatch) -> Path:
    """A cluster that takes a job and does nothing; the folder in which it keeps what it was given."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in {"sbatch": f'cp "$1" {tmp_path}/job.sh; echo Submitted batch job 12', "srun": ""}.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def submitted(folder: Path, *words: str, jobs: int = 1, gpus: int = 0) -> set[str]:
    """The sbatch options of the jobs that these flags make."""
    workers = Workers.from_flags("slurm", jobs, gpus, words, "auto")
    submit(Request("fewshot", Setup(cuda=workers.cuda)), workers, folder)
    return {line.removeprefix("#SBATCH ") for line in (folder / "job.sh").read_text().splitlines() if "#SBATCH" in line}


def test_a_job_asks_for_what_was_typed(sbatch, monkeypatch):
    given, map_array = [], submitit.AutoExecutor.map_array

    def spied(executor, worker, numbers):
        given.append((worker, list(numbers)))
        return map_array(executor, worker, numbers)

    monkeypatch.setattr(submitit.AutoExecutor, "map_array", spied)
    typed = "partition=gpu time=4:00:00 cpus-per-task=4 mem=16G mail_type=END exclusive=true constraint=a100|h100"
    options = submitted(sbatch, *typed.split(), gpus=2)
    wanted = {"--partition=gpu", "--time=240", "--cpus-per-task=4", "--mem=16G", "--mail-type=END", "--exclusive"}
    assert {*wanted, "--constraint='a100|h100'", "--gpus-per-node=1", "--array=0-1%2"} <= options
    ((worker, numbers),) = given
    assert isinstance(worker, Worker)
    assert '"cuda": true' in worker.request
    assert (worker.gpus, numbers) == ((), [0, 1])


def test_a_job_without_a_gpu_and_one_with_a_gpu_of_a_kind(sbatch):
    assert not [option for option in submitted(sbatch, jobs=2) if option.startswith("--g")]
    assert "--time=720" in submitted(sbatch, jobs=2)
    options = submitted(sbatch, "gres=gpu:a100:1", gpus=2)
    assert "--gres=gpu:a100:1" in options
    assert not [option for option in options if option.startswith("--gpus")]
    assert "--gpus-per-node=a100:1" in submitted(sbatch, "gpus-per-node=a100:1", gpus=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("240", 240), ("4:30", 5), ("90:00", 90), ("4:00:00", 240), ("0:00:01", 1), ("1-2", 26 * 60),
     ("1-02:30", 26 * 60 + 30), ("2-00:00:00", 2880), ("0-00:30:30", 31)],
)  # fmt: skip
def test_times_as_sbatch_takes_them(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["0", "0:00", "4h", "1:2:3:4", "1-", "-1", "", "1-2:3:4:5"])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="time="):
        minutes(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("partion=gpu", "Did you mean partition"), ("cpus-per-tasks=4", "cpus-per-task"), ("reservation=x", "SBATCH_"),
     ("cpus-per-task=four", "whole number"), ("time=soon", "4:00:00"), ("time", "KEY=VALUE"), ("=3", "KEY=VALUE")],
)  # fmt: skip
def test_what_sbatch_would_not_take_is_told_before(text, words):
    with pytest.raises(ValueError, match=words):
        parse(["qos=high", text])


def test_names_are_known_to_submitit():
    assert set(NAMES) <= submitit.SlurmExecutor._valid_parameters()


@pytest.mark.parametrize(
    "word",
    [
        "comment=a\n#SBATCH --wrap=evil",
        "job_name=a\rb",
        "partition=gpu\x1b[2J",
        "a\nb=c",
        "account=x\u2028y",
        "mem=1G\0",
    ],
)
def test_no_value_becomes_a_line_of_its_own(word):
    with pytest.raises(ValueError, match="--slurm is .* line break or another control character") as error:
        parse([word])
    assert str(error.value).isprintable()


def test_a_machine_that_is_no_cluster_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="This machine has no sbatch and no srun, so .* a login node"):
        follow(Request("fewshot", Setup(output=str(tmp_path / "output"))), Workers("slurm"), None)
    assert not (tmp_path / "output").exists()


def test_nor_does_the_folder_of_the_output(sbatch, monkeypatch):
    output = f"{sbatch}/a\n#SBATCH --wrap=evil"
    workers = Workers.from_flags("slurm", 2, 0, (), "cpu")
    with pytest.raises(ValueError, match="OUTPUT is .* line break"):
        follow(Request("fewshot", Setup(output=output)), workers, None)
    assert not Path(output).exists()


@pytest.mark.parametrize("text", ["²", "１", "1" * 400, "1_0"])
def test_digits_of_other_scripts_are_no_numbers(text):
    for name in ("cpus-per-task", "time"):
        with pytest.raises(ValueError, match=f"--slurm {name}"):
            parse([f"{name}={text}"])
