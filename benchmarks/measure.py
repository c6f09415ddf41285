"""Measuring: interleaved times, FLOPs, peak memory in a process of its own, and what machine it was."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]


def interleave(cases: Mapping[str, Callable], repeats: int) -> dict[str, float]:
    """Median seconds of each case. The cases take turns, so that a busy machine is busy for all of them.

    The first round is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def seconds(case: Callable) -> float:
    """Of a single call, for what takes too long to repeat."""
    start = time.perf_counter()
    case()
    return time.perf_counter() - start


def flops(case: Callable) -> int:
    """Floating-point operations of the matrix products and convolutions of a call (torch.utils.flop_counter)."""
    with FlopCounterMode(display=False) as counter:
        case()
    return counter.get_total_flops()


def hot_operators(case: Callable, number: int = 6) -> list[list]:
    """[operator, percent of the time] of a call, the largest first (torch.profiler, self time on the CPU)."""
    case()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        case()
    events = sorted(record.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    return [[e.key.removeprefix("aten::"), round(100 * e.self_cpu_time_total / total, 1)] for e in events[:number]]


def memory_of(function: Callable, **arguments) -> dict[str, float]:
    """Resident memory in MB, and seconds, of a case in a process of its own.

    Args:
        function: of a benchmark's module, by name; called with `arguments` there. It prepares its inputs and returns
            the case, a function without arguments.

    Returns:
        `inputs`: resident when the inputs are ready; `peak`: the highest while the case ran; `seconds` that it ran.
    """
    code = "from benchmarks.measure import child; child()"
    order = json.dumps([function.__module__, function.__name__, arguments, torch.get_num_threads()])
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
    module, name, arguments, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    case = getattr(importlib.import_module(module), name)(**arguments)
    before = resident("VmRSS")
    reset_peak()
    took = seconds(case)
    print(json.dumps({"inputs": before, "peak": resident("VmHWM"), "seconds": took}))


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
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }
