"""The options of sbatch that `--slurm KEY=VALUE` may hold, turned into those that submitit takes."""

from __future__ import annotations

import difflib
import math
import re
import shutil
from collections.abc import Sequence

from simnl.escaping import printable, shortened
from simnl.numbers import whole_number

# Options of sbatch that say what a job needs. Those that say how many jobs and processes there are follow from the
# flags of tools/benchmark.py.
NAMES = (
    "account", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "dependency", "exclude", "exclusive",
    "gpus_per_node", "gres", "job_name", "mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist",
    "partition", "qos", "time", "wckey",
)  # fmt: skip
WHOLE = ("cpus_per_gpu", "cpus_per_task")  # numbers, to submitit as well
DAYS_FIRST = re.compile(r"(\d{1,6})-(\d{1,6})(?::(\d{1,6})(?::(\d{1,6}))?)?", re.ASCII)  # D-HH, D-HH:MM, D-HH:MM:SS
MINUTES_FIRST = re.compile(r"(?:(\d{1,6}):)??(\d{1,6})(?::(\d{1,6}))?", re.ASCII)  # MM, MM:SS, HH:MM:SS


def parse(texts: Sequence[str]) -> dict[str, object]:
    """The words after --slurm as {name with underscores: value}; `time` in minutes.

    Raises:
        ValueError: a word is not KEY=VALUE, a name is not an option of sbatch, or a value is impossible.
    """
    parsed: dict[str, object] = {}
    for text in texts:
        require_one_line("--slurm", text)
        key, _, value = text.partition("=")
        name = key.strip().lstrip("-").replace("-", "_")
        if not (name and value):
            raise ValueError(f"--slurm takes KEY=VALUE, e.g. partition=gpu time=4:00:00, not '{shortened(text)}'.")
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f" Did you mean {_typed(near[0])}?" if near else ""
            raise ValueError(
                f"--slurm {shortened(text)}: unknown name '{shortened(key)}'.{hint} Valid: "
                f"{', '.join(map(_typed, NAMES))}. Other options of sbatch are taken from its environment variables, "
                "e.g. SBATCH_RESERVATION."
            )
        parsed[name] = _value(name, value)
    return parsed


def require_cluster() -> None:
    """RuntimeError where this machine cannot submit jobs."""
    missing = [f"no {tool}" for tool in ("sbatch", "srun") if shutil.which(tool) is None]
    if missing:
        raise RuntimeError(
            f"This machine has {' and '.join(missing)}, so --executor slurm cannot submit jobs. Run the command on a "
            "login node of the cluster; --dry-run shows the jobs anywhere."
        )


def require_one_line(name: str, text: str) -> None:
    """ValueError where what becomes a line of the batch script would become more, or others than it seems."""
    if text != printable(text):
        raise ValueError(
            f"{name} is '{shortened(text)}', which has a line break or another control character. Remove it."
        )


def _typed(name: str) -> str:
    return name.replace("_", "-")


def _value(name: str, value: str) -> object:
    if name == "time":
        return minutes(value)
    if name in WHOLE:
        return whole_number(value, least=1, name=f"--slurm {_typed(name)}")
    return True if value.lower() == "true" else value  # `exclusive` may stand alone with sbatch


def minutes(text: str) -> int:
    """A time limit as sbatch takes it, in minutes, rounded up.

    Args:
        text: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS.

    Raises:
        ValueError: another form, or no time at all.
    """
    days = hours = whole = seconds = None
    if found := DAYS_FIRST.fullmatch(text):
        days, hours, whole, seconds = found.groups()
    elif found := MINUTES_FIRST.fullmatch(text):
        hours, whole, seconds = found.groups()
    total = sum(int(part or 0) * unit for part, unit in ((days, 1440), (hours, 60), (whole, 1), (seconds, 1 / 60)))
    if not found or total == 0:
        raise ValueError(
            f"--slurm time={shortened(text)}: give minutes (240), MM:SS, HH:MM:SS (4:00:00), D-HH, D-HH:MM or "
            "D-HH:MM:SS, above 0."
        )
    return math.ceil(round(total, 6))


def job_parameters(given: dict[str, object], count: int, gpu: bool) -> dict[str, object]:
    """The parameters of an array of `count` jobs for submitit, with what was given.

    Args:
        given: from `parse`; its `time` wins over the limit of half a day, `gpus-per-node` and `gres` over one GPU.
        gpu: each job gets one.
    """
    parameters: dict[str, object] = {
        "name": "simnl-benchmark",
        "timeout_min": 60 * 12,
        "tasks_per_node": 1,
        "slurm_array_parallelism": count,
    }
    if gpu and "gres" not in given and "gpus_per_node" not in given:
        parameters["gpus_per_node"] = 1
    renamed = {"time": "timeout_min", "cpus_per_task": "cpus_per_task"}
    return parameters | {renamed.get(name, f"slurm_{name}"): value for name, value in given.items()}
