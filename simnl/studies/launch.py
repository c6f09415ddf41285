"""Start the processes that work on a matrix, follow them, and collect their results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import submitit
from rich.console import Console

from simnl.escaping import printable
from simnl.locations import ROOT
from simnl.runs.devices import devices_of
from simnl.studies import slurm
from simnl.studies.cells import Cell, is_finished
from simnl.studies.definitions import Request
from simnl.studies.executor import work
from simnl.studies.progress import Progress
from simnl.studies.workers import STOP, EventLog, Worker, chosen_threads, usable_cores

FOLDER = ".benchmark"  # below OUTPUT: events and logs of processes
POLL = {"local": 0.3, "slurm": 2.0}  # seconds between two reads of the events
PATIENCE = 10.0  # seconds for processes to end when all cells are settled
LOCAL_MINUTES = 60 * 24 * 30  # time limit of a process on this machine


@dataclass(frozen=True)
class Workers:
    """How many processes, where, and what each may use.

    Attributes:
        cuda: they use GPUs.
        gpus: the GPU of each process on this machine, see `simnl.runs.devices`; empty: no choice is made.
        parameters: the parameters of the jobs of a cluster, see `simnl.studies.slurm`.
    """

    executor: str = "local"
    count: int = 1
    cuda: bool = False
    gpus: tuple[str, ...] = ()
    parameters: dict[str, object] = field(default_factory=dict)

    @classmethod
    def from_flags(cls, executor: str, jobs: int, gpus: int, parameters: Sequence[str], device: str) -> Workers:
        """Check the flags of `tools/benchmark.py`, and DEVICE.

        Raises:
            ValueError: they do not fit together, or not this machine; RuntimeError: DEVICE asks for a GPU in vain.
        """
        if parameters and executor != "slurm":
            raise ValueError("--slurm needs --executor slurm.")
        if gpus and jobs > 1:
            raise ValueError(
                "--gpus N starts one process per GPU, and --jobs N processes without a GPU. Give only one of them."
            )
        cuda, names = devices_of(executor, jobs, gpus, device)
        return cls(executor, gpus or jobs, cuda, names, slurm.parse(parameters))

    @property
    def in_process(self) -> bool:
        """True where this process does the work itself."""
        return self.executor == "local" and self.count == 1

    def describe(self) -> list[str]:
        """A line per process, for a dry run."""
        names = [f"GPU {name}" for name in self.gpus] or ["1 GPU" if self.cuda else "CPU"] * self.count
        more = "".join(f" {key}={value}" for key, value in self.parameters.items())
        return [f"{self.executor} job {n} of {self.count}: {name}{more}" for n, name in enumerate(names, 1)]


def describe_cell(cell: Cell) -> str:
    """A line for a dry run: the cell, and done, to run, n/a or its error."""
    if cell.refusal:
        return f"{cell}: n/a: {cell.refusal}"
    if cell.error:
        return f"{cell}: cannot run: {cell.error.splitlines()[0]}"
    return printable(f"{cell}: {'done' if is_finished(cell) else 'to run'} ({cell.folder})")


def run(request: Request, cells: Sequence[Cell], workers: Workers) -> dict[int, dict]:
    """Run all cells, and return their results by number. Each warning of runs is shown once on the console."""
    console = Console(file=sys.stdout, soft_wrap=True)
    with Progress(cells, console, workers.count) as progress:
        if workers.in_process:
            work(cells, progress.report)
        else:
            follow(request, workers, progress)
    counts = progress.counts()
    console.out(", ".join(f"{counts[state]} {state}" for state in sorted(counts)), highlight=False)
    return progress.outcomes


def follow(request: Request, workers: Workers, progress: Progress) -> None:
    """Submit the processes and pass on what they write until all cells are settled or all processes have ended."""
    if workers.executor == "slurm":
        slurm.require_cluster()
        slurm.require_one_line("OUTPUT", request.setup.output)
    folder = Path(request.setup.output).absolute() / FOLDER / time.strftime("%Y%m%d-%H%M%S")
    folder = folder.with_name(f"{folder.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    events = EventLog(folder)
    jobs = submit(request, workers, folder)
    progress.console.out(f"{len(jobs)} {workers.executor} jobs started, logs in {folder}", highlight=False)
    settled_at, last_of = None, {}
    try:
        while settled_at is None or time.monotonic() - settled_at < PATIENCE:
            over = all_over(jobs)  # asked before the last read of the events
            for number, event in events.read():
                last_of[number] = event.get("process", 0)
                progress.report(number, event)
            if over:
                report_lost(progress, jobs, last_of)
                return
            if settled_at is None and len(progress.outcomes) == len(progress.cells):
                settled_at = time.monotonic()
            time.sleep(POLL[workers.executor])
    finally:
        if not all_over(jobs):
            (folder / STOP).touch()  # so that a job that ends late begins no other cell
            for job in jobs:
                cancel(job)
            end = time.monotonic() + PATIENCE
            while workers.executor == "local" and not all_over(jobs) and time.monotonic() < end:
                time.sleep(POLL["local"])


def cancel(job) -> None:
    """Stop a job. On this machine by SIGTERM, which its processes answer without tracebacks (`Worker`)."""
    if isinstance(job, submitit.SlurmJob):
        job.cancel(check=False)
    elif not job.done():
        os.kill(int(job.job_id), signal.SIGTERM)


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes that are started within the block do not get the terminal's Ctrl-C; this process stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that came meanwhile is delivered here


def report_lost(progress: Progress, jobs: Sequence, last_of: dict[int, int]) -> None:
    """Report unfinished cells as failed after all processes have ended. The log says why.

    Args:
        last_of: the process that had a cell last; cells that none came to are told with the first process.
    """
    for number in range(len(progress.cells)):
        if number not in progress.outcomes:
            log = jobs[last_of.get(number, 0)].paths.stderr
            error = f"its process ended early. {last_line(log) or 'It left no message; perhaps memory ran out.'}"
            progress.report(number, {"state": "failed", "error": error, "log": str(log)})


def last_line(path: Path) -> str:
    """The last line of a log that is not empty; empty where there is none."""
    with contextlib.suppress(OSError):
        return next(filter(None, map(str.strip, reversed(path.read_text(errors="replace").splitlines()))), "")
    return ""


def all_over(jobs: Sequence) -> bool:
    """True when no job runs or waits. SLURM is asked through squeue: submitit's sacct needs an accounting data base."""
    if all(job.paths.result_pickle.exists() for job in jobs):
        return True
    if isinstance(jobs[0], submitit.SlurmJob):
        names = sorted({job.job_id.partition("_")[0] for job in jobs})
        asked = subprocess.run(["squeue", "-h", "-j", ",".join(names)], capture_output=True, text=True, check=False)
        forgotten = "Invalid job id" in asked.stderr
        return forgotten or (asked.returncode == 0 and not asked.stdout.strip())
    return all(job.done() for job in jobs)


def submit(request: Request, workers: Workers, folder: Path) -> list:
    """Start the processes through submitit; its job objects."""
    root = str(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    local = workers.executor == "local"
    worker = Worker(
        json.dumps(request.to_json()),
        workers.count,
        str(folder),
        threads=chosen_threads() or (max(1, usable_cores() // workers.count) if local else 0),
        gpus=workers.gpus,
        parent=os.getpid() if local else 0,
    )
    executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=workers.executor)
    if local:
        executor.update_parameters(timeout_min=LOCAL_MINUTES)
    else:
        executor.update_parameters(**slurm.job_parameters(workers.parameters, workers.count, workers.cuda))
    with without_ctrl_c() if local else contextlib.nullcontext():
        return executor.map_array(worker, list(range(workers.count)))
