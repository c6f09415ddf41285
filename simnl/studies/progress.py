"""What a person sees while a matrix is worked on: counts, the runs at work, and the time that is left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from simnl.bars import readable
from simnl.studies.cells import Cell
from simnl.studies.workers import SETTLED

SHOWN = 8  # running cells that are named


class Progress:
    """Live view in a terminal, a line per finished cell elsewhere.

    Args:
        cells: all cells; events name them by number.
        console: the console to write to. Give it a `file` of its own, since runs redirect `sys.stdout`.
        workers: processes at work, for the time left.
    """

    def __init__(self, cells: Sequence[Cell], console: Console, workers: int = 1):
        self.cells, self.console, self.workers = cells, console, workers
        self.outcomes: dict[int, dict] = {}
        self._running: dict[int, float] = {}
        self._live = Live(self, console=console, refresh_per_second=4, redirect_stdout=False, transient=True)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def report(self, number: int, event: dict) -> None:
        """Take in what became of a cell; see `simnl.studies.executor.work`."""
        if event["state"] == "running":
            self._running.setdefault(number, time.monotonic())
            return
        self._running.pop(number, None)
        if event["state"] not in SETTLED or self.outcomes.get(number, {}).get("state") in ("done", "failed"):
            return
        self.outcomes[number] = event
        if not self.console.is_terminal and event["state"] in ("done", "failed"):
            self.console.out(f"[{len(self.outcomes)}/{len(self.cells)}] {self._line(number, event)}", highlight=False)

    def counts(self) -> Counter:
        """Number of cells by state."""
        return Counter(event["state"] for event in self.outcomes.values())

    def _line(self, number: int, event: dict) -> str:
        if event["state"] == "failed":
            return f"{self.cells[number]}: FAILED: {event['error'].splitlines()[0]}"
        accuracy = "not tested" if event["accuracy"] is None else f"{event['accuracy']:.2f} %"
        return f"{self.cells[number]}: {accuracy} in {event['seconds']:.1f} s, {self._time_left()}"

    def seconds_left(self) -> float | None:
        """The seconds left, by the mean time of a method's finished cells, or of all cells; None before the first."""
        times: dict[str, list[float]] = {}
        for number, event in self.outcomes.items():
            if event["state"] == "done":
                times.setdefault(self.cells[number].plan.method, []).append(event["seconds"])
        if not times:
            return None
        everything = [seconds for some in times.values() for seconds in some]
        left = [cell.plan.method for number, cell in enumerate(self.cells) if number not in self.outcomes]
        per_cell = (sum(some) / len(some) for some in (times.get(method, everything) for method in left))
        return sum(per_cell) / self.workers

    def _time_left(self) -> str:
        seconds = self.seconds_left()
        return "time left not known yet" if seconds is None else f"about {readable(seconds)} left"

    def __rich__(self) -> Group:
        return Group(*(Text(line, no_wrap=True) for line in self.lines(self.console.width)))

    def lines(self, width: int) -> list[str]:
        """What is shown, none of it wider than the terminal: count and time left, a bar, states, what runs."""
        counts, total = self.counts(), len(self.cells)
        settled, across = len(self.outcomes), min(80, width)
        full = across * settled // max(1, total)
        states = ", ".join(f"{counts[state]} {state}" for state in SETTLED if counts[state] or state == "done")
        now = time.monotonic()
        running = [f"{now - since:7.0f} s  {self.cells[number]}" for number, since in self._running.items()]
        more = [f"  and {len(running) - SHOWN} more"] if len(running) > SHOWN else []
        lines = [f"{settled} of {total} cells, {self._time_left()}", "#" * full + "-" * (across - full), states]
        return [shortened(line, width) for line in [*lines, *running[:SHOWN], *more]]


TAIL = 12  # letters that a line keeps at its end: the seed


def shortened(line: str, width: int) -> str:
    """A line that fits; where something is left out before its end, dots say so."""
    return line if len(line) <= width else f"{line[: max(0, width - TAIL - 3)]}...{line[-TAIL:]}"[:width]
