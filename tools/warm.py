"""Encode what a matrix of runs will need, so that the runs find all features in the store.

python tools/warm.py fewshot --datasets dtd --shots 1 2 4 8 16          # what benchmark.sh would run, see its --help
torchrun --nproc-per-node 8 tools/warm.py fewshot --datasets imagenet   # 8 GPUs, each with its share of the images

Takes the flags of scripts/benchmark.sh that say what is run. The store is the same however many processes fill it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

import _path  # noqa: F401 - makes the packages importable
from benchmark import build_parser, request_from, sort_words, split_options

from experiment.cli import fail_politely


@fail_politely
def main() -> int:
    """Entry point."""
    flags, options = split_options(sys.argv[1:])
    if not flags or {"-h", "--help"} & set(flags):
        print(__doc__)
        return 0
    args = build_parser().parse_args(flags)
    sort_words(args)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    request = request_from(args, options)
    if request.setup.cuda and world > 1:
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))

    from experiment.run import configure_logging
    from experiment.studies import cells_of
    from experiment.warming import warm

    configure_logging(quiet=True)
    cells = cells_of(request)
    configs = [cell.cfg for cell in cells if cell.cfg is not None]
    start = time.perf_counter()
    with contextlib.redirect_stdout(None):
        encoded = warm(configs, rank, world)
    seconds = time.perf_counter() - start
    print(
        f"Process {rank + 1} of {world}: {encoded} views encoded for {len(configs)} runs in {seconds:.1f} s", flush=True
    )
    wrong = [f"{cell}: {cell.error}" for cell in cells if cell.error]
    if wrong and rank == 0:
        print("\nNot warmed:", *wrong, sep="\n  ", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
