"""Training within another program, whose state is restored afterwards."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore global state after a block: the generators of Python, numpy and torch, torch's switches of arithmetic,
    and the handlers of the root logger, to which libraries that use `logging.info` add one."""
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    switches, cublas, handlers = _switches(), os.environ.get(CUBLAS), logging.root.handlers[:]
    try:
        yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
        _set_switches(switches)
        logging.root.handlers[:] = handlers
        if cublas is None:
            os.environ.pop(CUBLAS, None)


def _switches() -> dict[str, Any]:
    return {
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": _deterministic().fill_uninitialized_memory,
    }


def _set_switches(known: dict[str, Any]) -> None:
    torch.set_float32_matmul_precision(known["matmul"])
    torch.backends.cudnn.allow_tf32 = known["tf32"]
    torch.backends.cudnn.benchmark = known["benchmark"]
    torch.use_deterministic_algorithms(known["deterministic"], warn_only=known["warn_only"])
    _deterministic().fill_uninitialized_memory = known["fill"]


def _deterministic() -> Any:
    return torch.utils.deterministic  # torch's annotations lack it


class _QuietThread:
    """A stream that drops what one thread writes, and passes on what the others write."""

    def __init__(self, stream: Any):
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Write the text unless it comes from the silenced thread."""
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Drop the lines that the engine prints in this thread, if wanted."""
    stream = sys.stdout
    if wanted:
        sys.stdout = _QuietThread(stream)
    try:
        yield
    finally:
        sys.stdout = stream
