"""usage: bash scripts/benchmark.sh STUDY [--methods M ...] [--datasets D ...] [--shots K ...] [--seeds S ...]
                                [--backbone B] [--protocol P] [--preset P] [--jobs N] [KEY VALUE ...]
       bash scripts/simnl/sensitivity.sh, ablation.sh DATASET SHOTS [flags] [KEY VALUE ...]
       bash scripts/noise.sh DATASET SHOTS [flags] [KEY VALUE ...]
       bash scripts/base2new.sh METHOD DATASET SHOTS [flags] [KEY VALUE ...]
       bash scripts/cross.sh METHOD SOURCE SHOTS [--targets NAME ...] [flags] [KEY VALUE ...]

Runs every cell of a matrix, methods x data sets x shots x seeds, and prints its table. Finished cells are skipped, and
interrupted ones continue. Several such commands may run at once. A cell that fails does not stop the others: it is
named at the end, with its error and its log, and the exit code is 1.

STUDY
  fewshot      the methods as they are, 1, 2, 4, 8 and 16 shots (the paper's Table A1)
  dg           methods are trained on a data set and also tested on its shifted variants (Table A2)
  base2new     methods are trained on the first half of the classes and tested on both halves
  cross        methods are trained on a data set (the source) and tested on others, whose classes are new to them
  noise        0 to 75 % of the training labels are wrong, with and without SimNL's reweighting
  sensitivity  SimNL's alpha, beta, lambda and tau, one at a time, without the search (Table A3)
  ablation     SimNL with one adapter frozen at a time, and without its instance weights, losses and prompts
  audit        every protocol on the same draws: what choosing on the test images is worth

  --methods    {methods}
               or all of them: `all`   [all that work on cached features; SimNL for noise, sensitivity and ablation]
  --datasets   {datasets}
               [those of the paper's eleven whose data is below DATA (for cross: imagenet); shapes where there is none]
  --shots      numbers from 1         [1 2 4 8 16 for fewshot, else 16]
  --targets    for cross: data sets, or folders of images (absolute, or below DATA, or below the current folder;
               ./NAME looks there first), on which the methods are tested
               [those of the paper's eleven, but the source, whose data is below DATA]
  --seeds      numbers from 0         [SEEDS, or 1 2 3]
  --backbone   the same as BACKBONE   [auto]
  --protocol, --preset  the same as PROTOCOL and PRESET   [fewshot-val, repaired]
  --jobs N     processes on this machine, without a GPU; each uses its share of the cores   [1]
  --gpus N     one process per GPU, of those that CUDA_VISIBLE_DEVICES shows
               [0: the one process uses a GPU if there is one]
  --executor   local: processes on this machine; slurm: a job array of --gpus (or --jobs) jobs   [local]
  --slurm KEY=VALUE ...  options of sbatch for the jobs, e.g. --slurm partition=gpu time=4:00:00 cpus-per-task=4
  --dry-run    print the cells and the jobs, and run nothing
  KEY VALUE    config keys for all cells, e.g. OPTIM.MAX_EPOCH 10 or MATMUL high

DATA, OUTPUT, CACHE, WEIGHTS, DEVICE and DEBUG are read from the environment, as scripts/simnl/main.sh does.
Examples:

  bash scripts/benchmark.sh fewshot --datasets shapes
  BACKBONE=tiny_vit bash scripts/benchmark.sh fewshot --datasets shapes --methods all
  DATA=/data bash scripts/benchmark.sh fewshot --methods SimNL TipAdapterF --shots 1 16 --seeds 1
  DATA=/data bash scripts/benchmark.sh fewshot --executor slurm --gpus 8 --slurm partition=gpu time=10:00:00
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import as_typed
from simnl.config_names import check_name, known
from simnl.errors import fail_politely
from simnl.numbers import argument, seeds_from, whole_number
from simnl.runs.cli import check_pairs, is_key
from simnl.studies import STUDY_NAMES

PROCESSES = 4096  # more than any machine or job array can use


def usage() -> str:
    """The help text."""
    names = {kind: listed(known(kind)) for kind in ("trainers", "datasets")}
    return as_typed(__doc__.format(methods=names["trainers"], datasets=names["datasets"]))


def listed(names: Sequence[str]) -> str:
    """Names in lines of the help text."""
    return textwrap.fill(", ".join(names), 100, subsequent_indent=" " * 15, break_on_hyphens=False)


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, and KEY VALUE pairs; these may stand anywhere.

    Raises:
        ValueError: see `simnl.runs.cli.check_pairs`.
    """
    flags, options, words = [], [], iter(arguments)
    for word in words:
        if is_key(word):
            options += [word, *itertools.islice(words, 1)]
        else:
            flags.append(word)
    check_pairs(options)
    return flags, options


class Parser(argparse.ArgumentParser):
    """Errors as exceptions, the help as ours."""

    def error(self, message: str) -> None:
        """Raise instead of leaving."""
        raise ValueError(f"{message}. See --help.")

    def format_help(self) -> str:
        """The module's text."""
        return usage()


def build_parser() -> Parser:
    """The flags of the help text."""
    parser = matrix_parser()
    parser.add_argument("--jobs", type=argument(1, PROCESSES), default=1)
    parser.add_argument("--gpus", type=argument(0, PROCESSES), default=0)
    parser.add_argument("--executor", choices=("local", "slurm"), default="local")
    parser.add_argument("--slurm", nargs="+", default=(), metavar="KEY=VALUE")
    return parser


def matrix_parser() -> Parser:
    """The flags that say what is run."""
    parser = Parser(allow_abbrev=False)
    parser.add_argument("study", choices=STUDY_NAMES)
    parser.add_argument("words", nargs="*", help="names of methods and data sets, and numbers of shots, without flags")
    for name, kind in (
        ("methods", str),
        ("datasets", str),
        ("targets", str),
        ("shots", argument(1)),
        ("seeds", argument()),
    ):
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=())
    for name in ("backbone", "protocol", "preset"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--dry-run", action="store_true")
    return parser


def sort_words(args: argparse.Namespace) -> None:
    """Put words without a flag where they belong: shots, data sets, methods.

    Raises:
        ValueError: a word that is none of these.
    """
    valid = {name: kind for kind in ("datasets", "trainers") for name in known(kind)}
    for word in args.words:
        if word not in valid and (word[:1].isdigit() or word[:1] in "+-"):
            args.shots = [*args.shots, whole_number(word, least=1, name="SHOTS")]
        elif valid.get(word) == "trainers":
            args.methods = [*args.methods, word]
        else:
            args.datasets = [*args.datasets, check_name("datasets", word)]


def request_from(args: argparse.Namespace, options: list[str], *, cuda: bool):
    """The study that the command line and the environment ask for; flags win."""
    from simnl.studies.cells import Setup
    from simnl.studies.definitions import Request

    given = {name.upper(): value for name in ("backbone", "protocol", "preset") if (value := getattr(args, name))}
    setup = Setup.from_environment({**os.environ, **given}, cuda=cuda)
    seeds = seeds_from(" ".join(map(str, args.seeds)) or os.environ.get("SEEDS") or "1 2 3")
    return Request(
        args.study,
        setup,
        tuple(args.methods),
        tuple(args.datasets),
        tuple(args.shots),
        tuple(seeds),
        tuple(options),
        tuple(args.targets),
    )


@fail_politely
def main() -> int:
    """python tools/benchmark.py STUDY [flags] [KEY VALUE ...]"""
    flags, options = split_options(sys.argv[1:])
    if {"-h", "--help"} & set(flags):
        print(usage())
        return 0
    args = build_parser().parse_args(flags)
    sort_words(args)

    from simnl.runs.logs import configure_logging
    from simnl.studies import launch
    from simnl.studies.definitions import cells_of

    configure_logging(quiet=True)
    device = os.environ.get("DEVICE") or "auto"
    workers = launch.Workers.from_flags(args.executor, args.jobs, args.gpus, args.slurm, device)
    request = request_from(args, options, cuda=workers.cuda)
    cells = cells_of(request)
    if args.dry_run:
        print("\n".join([*workers.describe(), *map(launch.describe_cell, cells)]))
        return 0
    outcomes = launch.run(request, cells, workers)
    return conclude(request, cells, outcomes)


def conclude(request, cells: list, outcomes: dict[int, dict]) -> int:
    """Print the table, what could not be done and why, and what to do next; the exit code."""
    from simnl.results.overview import closing_table, problems
    from simnl.studies.definitions import STUDIES

    study = STUDIES[request.study]
    layout = study.layout
    print(f"\n{closing_table(cells, layout)}\n")
    failed, refused = problems(cells, outcomes)
    if refused:
        print("Not applicable:", *(f"  {line}" for line in refused), "", sep="\n")
    output = shlex.quote(request.setup.output)
    print(as_typed(f"Tables: python tools/table.py {output}{f' --layout {layout}' if layout else ''}"))
    if study.figure:
        print(as_typed(f"Figure: python tools/plot.py {request.study} {output}"))
    print(as_typed(f"Report: python tools/report.py {output}"))
    if failed:
        print("\nFailed:", *(f"  {line}" for line in failed), sep="\n", file=sys.stderr)
        print("Mend what is wrong and run the same command again: finished cells are skipped.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
