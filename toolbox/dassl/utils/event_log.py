"""TensorBoard's log, written with less work. Imported where a log is opened, because it needs the package."""

from __future__ import annotations

import time
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

__all__ = ["EventLog"]


class EventLog(SummaryWriter):
    """A `SummaryWriter` that puts the scalars of one step into one event, for an event costs more than what it holds.

    Readers find the same tags, steps and values.
    """

    def __init__(self, log_dir: str):
        self._values: dict[str, float] = {}
        self._step: int | None = None
        self._since = 0.0
        super().__init__(log_dir=log_dir)

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, *more: Any, **options: Any):
        """Take a number, or a tensor of one; written with the others of its step. Options: see `SummaryWriter`."""
        if self._values and (tag in self._values or global_step != self._step):
            self._write()
        if more or options:
            super().add_scalar(tag, scalar_value, global_step, *more, **options)
            return
        if not self._values:
            self._step, self._since = global_step, time.time()
        self._values[tag] = float(scalar_value)

    def flush(self) -> None:
        """Write everything to the disk."""
        self._write()
        super().flush()

    def close(self) -> None:
        """Write everything, and close the file."""
        self._write()
        super().close()

    def _write(self) -> None:
        values, self._values = self._values, {}
        if values:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
            self._get_file_writer().add_summary(summary, self._step, self._since)
