"""python benchmarks/run.py [NAME ...] [--full]: measure, print, keep the results, bring docs/performance.md up to date.

Each benchmark compares this program with the direct evaluation of the same formula, in one run: the two take turns and
medians are given. Ratios carry over to other machines; seconds do not.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import measure, report

NAMES = (
    "training", "search", "closed_forms", "extraction", "sharing", "memory", "prompts", "step_memory",
    "files", "many_rows", "many_records", "many_classes", "table",
)  # fmt: skip
BY_DEFAULT = NAMES[:8]  # the others, which take long, are measured by name


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(NAMES)}; default: the first {len(BY_DEFAULT)}")
    parser.add_argument("--full", dest="size", action="store_const", const="full", help="largest sizes, 20 minutes")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="seconds; for tests")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default: cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--output", type=Path, help="where results go, without touching the document's tables")
    for name, kind in (("datasets", str), ("methods", str), ("shots", int)):
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=[], help="of `table`: the part to measure")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    logging.basicConfig(level=logging.WARNING)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here")
    if options.device == "cuda" and options.output is None:
        parser.error("--device cuda needs --output FOLDER: the tables of docs/performance.md are those of a CPU")
    torch.set_num_threads(options.threads)
    measure.use(options.device)
    part = {key: given for key in ("datasets", "methods", "shots") if (given := getattr(options, key))}
    if part and options.names != ["table"]:
        parser.error("--datasets, --methods and --shots are those of `table` alone")
    for name in options.names or BY_DEFAULT:
        run_one(name, options.size or "fast", options.output or report.RESULTS, part)
    if options.output is None:
        report.write_document()


def run_one(name: str, size: str, folder: Path, part: dict) -> None:
    """Run a benchmark, or a part of one, print its table and keep its result."""
    module = importlib.import_module(f"benchmarks.{name}")
    about = measure.machine()
    start = time.perf_counter()
    result = {"title": module.TITLE, "size": size, "machine": about, **module.run(size, **part)}
    path = report.save(folder, name, result)
    print(f"\n{module.TITLE} ({time.perf_counter() - start:.0f} s, kept in {path})\n\n{report.table(result)}\n")


if __name__ == "__main__":
    main()
