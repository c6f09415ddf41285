"""Encode what a matrix of runs will need, so that the runs find all features in the store.

python tools/warm.py fewshot --datasets dtd --shots 1 2 4 8 16          # what benchmark.sh would run, see its --help
torchrun --nproc-per-node 8 tools/warm.py fewshot --datasets imagenet   # 8 GPUs, each with its share of the images

The flags are those of scripts/benchmark.sh that say what is run. --jobs, --gpus, --executor and --slurm are not taken,
because torchrun (under srun on a cluster) starts the processes here. The store gets the same rows, to the last bit,
however many processes fill it. --dry-run says how many views are needed, whether stored or not, and
encodes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time

import _path  # noqa: F401 - makes the packages importable
from benchmark import matrix_parser, request_from, sort_words, split_options

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.numbers import whole_number
from simnl.runs.devices import pick_device

PROCESSES = ("--jobs", "--gpus", "--executor", "--slurm")  # flags of scripts/benchmark.sh that mean nothing here


def parse(flags: list[str]) -> argparse.Namespace:
    """The flags.

    Raises:
        ValueError: unknown ones, wrong values, and those that start processes.
    """
    wrong = [flag for flag in flags if flag.partition("=")[0] in PROCESSES]
    if wrong:
        raise ValueError(f"{wrong[0]} starts no processes here: use torchrun --nproc-per-node N tools/warm.py ...")
    args = matrix_parser().parse_args(flags)
    sort_words(args)
    return args


@fail_politely
def main() -> int:
    """Entry point."""
    flags, options = split_options(sys.argv[1:])
    if not flags or {"-h", "--help"} & set(flags):
        print(as_typed(__doc__))
        return 0
    args = parse(flags)
    world = whole_number(os.environ.get("WORLD_SIZE") or "1", least=1, name="WORLD_SIZE")
    rank = whole_number(os.environ.get("RANK") or "0", most=world - 1, name="RANK")
    request = request_from(args, options, cuda=pick_device(os.environ.get("DEVICE") or "auto"))
    if request.setup.cuda and world > 1:
        import torch

        # Processes may share a GPU, or be shown one each.
        number = whole_number(os.environ.get("LOCAL_RANK") or str(rank), name="LOCAL_RANK")
        torch.cuda.set_device(number % torch.cuda.device_count())

    from simnl.results.overview import by_reason
    from simnl.runs.logs import configure_logging
    from simnl.studies.definitions import cells_of
    from simnl.studies.warming import total_needs, warm

    configure_logging(quiet=True)
    cells = cells_of(request)
    start = time.perf_counter()
    with contextlib.redirect_stdout(None):
        if args.dry_run:
            views, images = total_needs(cells)
            done = f"{views} views of {images} images needed"
        else:
            done = f"{warm(cells, rank, world)} views encoded"
    seconds = time.perf_counter() - start
    runs = sum(cell.cfg is not None and not cell.error for cell in cells)
    print(f"Process {rank + 1} of {world}: {done} for {runs} runs in {seconds:.1f} s", flush=True)
    wrong = by_reason((cell, cell.error) for cell in cells if cell.error)
    if wrong and rank == 0:
        print("\nNot warmed:", *wrong, sep="\n  ", file=sys.stderr)
    return 1 if wrong and world == 1 else 0  # torchrun ends the other processes when one fails


if __name__ == "__main__":
    sys.exit(main())
