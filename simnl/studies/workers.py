"""One process of a study that runs in several: its cells, and the events that it leaves for the others.

Events are lines of json, in one file for each process, in one folder. The process that follows the study reads them,
and so do the other processes, so that a cell that failed in one process is not tried again in another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simnl import interrupts
from simnl.runs.devices import VISIBLE

STOP = "stop"  # while this file is in the folder of events, no cell is begun
SETTLED = ("done", "skipped", "failed", "n/a")  # states after which a cell is left alone


class EventLog:
    """Reads and writes the events of a folder.

    Args:
        folder: the folder to which all processes of the benchmark write.
        number: the number of the process that writes; None: it only reads.
    """

    def __init__(self, folder: Path, number: int | None = None):
        self._folder = folder
        self._number, self._own = number, folder / f"{number}.jsonl"
        self._read: dict[Path, int] = {}  # bytes taken in, by file
        self.settled: set[int] = set()

    def write(self, cell: int, event: dict) -> None:
        """Add an event. A line that was cut off, by a kill or a full disk, is ended first."""
        line = json.dumps({"cell": cell, "process": self._number, **event}).encode() + b"\n"
        with open(self._own, "ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut_off = file.read(1) not in (b"", b"\n")
            file.write(b"\n" + line if cut_off else line)

    def read(self) -> Iterator[tuple[int, dict]]:
        """What is new since the last call, as (cell, event); `process` is who wrote it. Cut-off lines are left out."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with open(path, "rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                try:
                    event = json.loads(line)
                    number = event.pop("cell")
                except ValueError:
                    continue
                if event["state"] in SETTLED:
                    self.settled.add(number)
                yield number, event

    def is_settled(self, cell: int) -> bool:
        """True if some process has settled a cell."""
        for _ in self.read():
            pass
        return cell in self.settled


@dataclass
class Worker:
    """What each process does; plain values, so that it can be handed to another machine.

    Attributes:
        request: `simnl.studies.definitions.Request` as json.
        count: number of processes.
        folder: the folder of the events.
        threads: the threads for tensor operations; 0: as many as the process may use.
        gpus: the GPU that each process uses alone, as CUDA_VISIBLE_DEVICES names it; empty: what it finds.
        parent: process that must be there for the work to go on; 0: none.
    """

    request: str
    count: int
    folder: str
    threads: int = 0
    gpus: tuple[str, ...] = ()
    parent: int = 0

    def __call__(self, number: int) -> None:
        """Work on the cells, starting at an offset of its own, until all of them are settled.

        On this machine SIGTERM ends it as a tool is ended (on a cluster submitit sees to signals).

        Raises:
            RuntimeError: a GPU is wanted, and there is none.
        """
        if not self.parent:
            self._work(number)
            return
        interrupts.install()
        try:
            with interrupts.interruptible():
                self._work(number)
        except BaseException:
            if not interrupts.received():
                raise
            interrupts.say(interrupts.received())
            os._exit(128 + interrupts.received())  # submitit would print a traceback

    def _work(self, number: int) -> None:
        if self.gpus:
            os.environ[VISIBLE] = self.gpus[number]  # read when CUDA is first used
        import torch

        from simnl.runs.logs import configure_logging
        from simnl.studies.definitions import Request, cells_of
        from simnl.studies.executor import work

        request = Request.from_json(json.loads(self.request))
        if request.setup.cuda and not torch.cuda.is_available():
            visible = os.environ.get(VISIBLE, "not set")
            raise RuntimeError(
                f"PyTorch {torch.__version__} sees no GPU on {os.uname().nodename} ({VISIBLE}: {visible})."
            )
        torch.set_num_threads(self.threads or usable_cores())
        configure_logging(quiet=True)
        cells = cells_of(request)
        events = EventLog(Path(self.folder), number)
        order = [n for first in range(self.count) for n in range((number + first) % self.count, len(cells), self.count)]
        work(cells, events.write, order=order, is_settled=lambda cell: self._shall_stop() or events.is_settled(cell))

    def checkpoint(self, number: int):
        """What submitit runs when the job was stopped by the cluster. Cells go on where they were."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, number)

    def _shall_stop(self) -> bool:
        return (Path(self.folder) / STOP).exists() or not (self.parent == 0 or is_running(self.parent))


def is_running(process: int) -> bool:
    """True if there is a process of this id on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def chosen_threads() -> int:
    """OMP_NUM_THREADS of the environment, 0 where it is not set: training is the same to the last bit only with the
    same number of threads, which otherwise follows from the number of processes."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
