"""Measuring: interleaved times, FLOPs, peak memory in a process of its own, and what machine it was."""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
MOST_ROUNDS = 50
DEVICE = torch.device("cpu")  # of all inputs; `use` changes it


def use(device: str) -> None:
    """Measure on a device from here on: `cpu` or `cuda`."""
    global DEVICE
    DEVICE = torch.device(device)


class Rounds(dict[str, list[float]]):
    """Seconds of several cases, name -> one number per round."""

    def median(self, name: str) -> float:
        """Median seconds of a case."""
        return statistics.median(self[name])

    def compared(self, direct: str = "direct", fast: str = "fast", factor: float = 1.0) -> dict:
        """What a row of a table says of two cases: median seconds, and the quartiles of the ratio within a round.

        factor: what the direct side's seconds are multiplied by, where a part of it was measured.
        """
        ratios = [factor * slow / quick for slow, quick in zip(self[direct], self[fast], strict=True)]
        low, middle, high = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else 3 * ratios
        return {
            "seconds": {"direct": factor * self.median(direct), "fast": self.median(fast)},
            "ratio": {"median": middle, "low": low, "high": high, "rounds": len(ratios)},
        }


def interleave(cases: Mapping[str, Callable], rounds: int, enough: float = 0.0) -> Rounds:
    """Time cases that take turns, so that a busy machine is busy for all of them. The first round is not counted.

    Args:
        cases: functions without arguments.
        rounds: at least so many,
        enough: and until so many seconds have been spent or MOST_ROUNDS are done.
    """
    for case in cases.values():
        case()
    times, start = Rounds((name, []) for name in cases), time.perf_counter()
    while True:
        for name, case in cases.items():
            times[name].append(seconds(case))
        done = len(times[name])
        if done >= rounds and (done >= MOST_ROUNDS or time.perf_counter() - start >= enough):
            return times


def seconds(case: Callable) -> float:
    """Of a single call, work that it left to a GPU included."""
    _synchronize()
    start = time.perf_counter()
    case()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def flops(case: Callable) -> int:
    """Floating-point operations of the matrix products and convolutions of a call (torch.utils.flop_counter)."""
    with FlopCounterMode(display=False) as counter:
        case()
    return counter.get_total_flops()


def hot_operators(case: Callable, number: int = 6) -> list[list]:
    """[operator, percent of the time] of a call, the largest first (torch.profiler, self time on the device)."""
    gpu = DEVICE.type == "cuda"
    case()
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as record:
        case()
    times = {e.key.removeprefix("aten::"): _self_time(e, gpu) for e in record.key_averages()}
    total = sum(times.values())
    return [[name, round(100 * times[name] / total, 1)] for name in sorted(times, key=times.get, reverse=True)[:number]]


def _self_time(event, gpu: bool) -> float:
    return event.self_device_time_total if gpu else event.self_cpu_time_total


def ceilings() -> dict[str, float]:
    """What the machine gives at best: GFLOP/s of fp32 products of 2048 x 2048 matrices, GB/s of copies of 256 MB."""
    square = torch.ones(2048, 2048, device=DEVICE)
    source = torch.ones(2**26, device=DEVICE)
    target = torch.empty_like(source)
    times = interleave({"products": lambda: square @ square, "copies": lambda: target.copy_(source)}, 5)
    return {
        "products_gflops": round(2 * 2048**3 / min(times["products"]) / 1e9, 1),
        "copies_gbs": round(2 * source.nbytes / min(times["copies"]) / 1e9, 1),
    }


def memory_of(function: Callable, **arguments) -> dict[str, float]:
    """Resident memory in MB (of a GPU: allocated there), and seconds, of a case in a process of its own.

    Args:
        function: of a benchmark's module, by name; called with `arguments` there. It prepares its inputs and returns
            the case, a function without arguments.

    Returns:
        `inputs`: resident when the inputs are ready; `peak`: the highest while the case ran; `seconds` that it ran.
    """
    code = "from benchmarks.measure import child; child()"
    order = json.dumps([function.__module__, function.__name__, arguments, torch.get_num_threads(), str(DEVICE)])
    path = os.pathsep.join([str(ROOT), str(ROOT / "toolbox"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code, order], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"Measuring {function.__module__}.{function.__name__} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def child() -> None:
    """What the process of `memory_of` runs."""
    module, name, arguments, threads, device = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    use(device)
    case = getattr(importlib.import_module(module), name)(**arguments)
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        took = seconds(case)
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        before = resident("VmRSS")
        reset_peak()
        took = seconds(case)
        peak = resident("VmHWM")
    print(json.dumps({"inputs": before, "peak": peak, "seconds": took}))


LAUNCHER = """
import json, os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
actions = [(os.POSIX_SPAWN_DUP2, file, 1), (os.POSIX_SPAWN_DUP2, file, 2)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions), 0)
print(json.dumps([status, *usage]))
"""  # a small process between: Linux counts the memory of the one that starts a program as the program's, too


def command(words: Sequence[str], log: Path, settings: Mapping[str, str] | None = None) -> tuple[float, Any]:
    """Run a Python program in a process of its own: seconds by the clock, and what it used (`resource.getrusage`).

    Args:
        words: the file and its arguments.
        log: the file that what it prints goes to.
        settings: variables of its environment, beside those that are there.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **(settings or {})}
    start = time.perf_counter()
    launched = [sys.executable, "-S", "-c", LAUNCHER, str(log), sys.executable, *words]
    done = subprocess.run(launched, env=environment, capture_output=True, text=True, check=True)
    took, (status, *usage) = time.perf_counter() - start, json.loads(done.stdout)
    if status:
        raise RuntimeError(f"The command failed: {' '.join(words)}. It printed:\n{log.read_text()[-2000:]}")
    return took, resource.struct_rusage(usage)


def resident(key: str) -> float:
    """This process's resident memory in MB: `VmRSS` now, `VmHWM` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {key}: peak memory can be measured on Linux only.")


def reset_peak() -> None:
    """Forget the highest resident memory so far."""
    Path("/proc/self/clear_refs").write_text("5")


def machine() -> dict:
    """What the figures were measured on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if DEVICE.type == "cuda" else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        **ceilings(),
    }
