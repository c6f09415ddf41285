"""Which errors are shown as a message, and which keep their traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import textwrap
import threading

import pytest

from simnl import interrupts
from simnl.errors import fail_politely, is_for_people, summary

METHOD = """
import json
import torch
import torch.nn.functional as F
from dassl.engine import TRAINER_REGISTRY

def missing_key(): return {}["beta"]
def wrong_shapes(): return torch.zeros(2, 3) @ torch.zeros(2, 3)
def wrong_batch(): return F.cross_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
def wrong_number(): return int("x")
def beyond(): return [][0]
def none(): return None.shape
def unknown(): return nowhere
def too_many(): return (lambda: 1)(2)
def asserted(): assert False, "rows"
def endless(): return endless()
def imported(): import no_such_module_here
def not_there(): raise NotImplementedError("forward")

def on_purpose(): raise ValueError("TRAINER.MINE.K must be above 0.")
def also_on_purpose(): raise RuntimeError("MINE needs a GPU.")
def from_another():
    try:
        int("x")
    except ValueError as error:
        raise ValueError("K is 'x'.") from error
def a_file(): open("/no/such/file")
def diverged(): raise FloatingPointError("Loss is infinite or NaN!")
def unknown_method(): TRAINER_REGISTRY.get("Nothing")
"""
DEFECTS = (
    "missing_key", "wrong_shapes", "wrong_batch", "wrong_number", "beyond", "none", "unknown", "too_many", "asserted",
    "endless", "imported", "not_there",
)  # fmt: skip
KINDS = (LookupError, RuntimeError, ValueError, AttributeError, NameError, TypeError, AssertionError, ImportError)
MESSAGES = ("on_purpose", "also_on_purpose", "from_another", "a_file", "diverged", "unknown_method")


@pytest.fixture
def method(tmp_path):
    """A user's own file, `trainers/mine.py`."""
    path = tmp_path / "trainers" / "mine.py"
    path.parent.mkdir()
    path.write_text(textwrap.dedent(METHOD))
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_a_method_keeps_its_traceback(method, name, capsys):
    with pytest.raises(KINDS) as caught:
        fail_politely(getattr(method, name))()
    assert summary(caught.value).startswith(f"{type(caught.value).__name__}: ")
    assert "Error:" not in capsys.readouterr().err


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_raised_on_purpose_is_a_message(method, name, capsys):
    assert fail_politely(getattr(method, name))() == 1
    told = capsys.readouterr().err
    assert told.startswith("\nError: ")
    assert "Traceback" not in told


def test_a_bad_file_read_by_this_program_is_a_message(capsys):
    assert fail_politely(lambda: json.loads("{"))() == 1
    assert "Error: Expecting" in capsys.readouterr().err


def test_memory():
    assert is_for_people(MemoryError())
    assert is_for_people(type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"))


@pytest.fixture
def _signals():
    before = {number: signal.getsignal(number) for number in (*interrupts.SIGNALS, signal.SIGALRM)}
    state = dict(vars(interrupts._State))
    interrupts._State.received = 0
    for number in interrupts.SIGNALS:
        signal.signal(number, interrupts._handle)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts._State.received, interrupts._State.inside = 0, state["inside"]
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_main_function_with_its_code(number, code, capfd):
    tidied = []

    def main() -> int:
        try:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # `timeout` sends it twice
            while True:
                pass
        finally:
            tidied.append(True)
            raise RuntimeError("a worker was killed by a signal")  # what a loader says of the same signal

    assert fail_politely(main)() == code
    assert tidied == [True]
    (line,) = capfd.readouterr().err.splitlines()
    assert line == interrupts.line(number)


@pytest.mark.usefixtures("_signals")
def test_a_signal_that_python_drops_comes_again(capfd):
    class Dropped:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # here the handler runs, and what it raises is dropped
                pass

    def main() -> int:
        Dropped()
        while True:
            pass

    assert fail_politely(main)() == 143
    assert len(capfd.readouterr().err.splitlines()) == 1
