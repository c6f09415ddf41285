"""usage: {command} DATASET SHOTS [KEY VALUE ...]

Runs {method} on DATASET with SHOTS training images per class, once per seed, and prints a table of these runs, beside
those of other methods with the same data, shots, seeds, weights, preset and protocol. Finished runs are skipped, and
interrupted ones continue. Examples:

  {command} shapes 16                    # offline: bundled data and bundled tiny CLIP
  DATA=/data {command} dtd 4             # the paper's ResNet-50
  DATA=/data BACKBONE=vit_b16 SEEDS="1 2 3 4 5" {command} imagenet 16 OPTIM.MAX_EPOCH 30

{methods}DATASET   {datasets}
SHOTS     1, 2, 4, 8 or 16 in the paper; any number from 1
KEY VALUE config keys, e.g. OPTIM.MAX_EPOCH 30; configs/trainers/{method}.yaml and docs/architecture.md explain them

Environment variables (value in brackets: the default)
  DATA      the data root, which holds the data sets' folders         [data]
  OUTPUT    the folder into which runs are written                     [output]
  CACHE     the folder of features, few-shot draws, rendered images    [{cache}]
  BACKBONE  auto, {backbones}, or an open_clip architecture            [auto]
            auto takes the bundled tiny CLIP for shapes, and rn50 for other data (or the tiny CLIP, with a warning,
            if the weights of rn50 are not on this machine and cannot be downloaded)
  WEIGHTS   an open_clip weights tag, or the path of a checkpoint      [the backbone's own]
  SEEDS     the seeds, separated by blanks                             [1 2 3]
  PRESET    repaired mends the authors' mistakes, official keeps them  [repaired]
  PROTOCOL  the images on which hyper-parameters are selected: no-val (none), held-shot (one of the K images per
            class; then the method is fitted on all K), fewshot-val (min(K,4) further images per class), full-val (the
            whole validation split, as the authors do) or oracle-test (the test set)   [fewshot-val]
  TARGETS   other data on which the run is also tested: config names of shifted data sets, `variants` for all shifted
            data sets of DATASET (which dg.sh sets), cross:NAME for a data set with other classes, or cross:FOLDER for
            a folder of images (scripts/cross.sh does this for several)   [none]
  DEVICE    auto, cpu, cuda or cuda:N                                  [auto]
  DEBUG     1 shows the traceback of an error                          [0]
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl import sharing
from simnl.commands import as_typed
from simnl.config_names import check_name, known
from simnl.errors import fail_politely
from simnl.escaping import printable
from simnl.locations import default_cache
from simnl.numbers import seeds_from, shots_in_words, whole_number
from simnl.runs.cli import check_pairs
from simnl.runs.devices import pick_device, split_device
from simnl.runs.methods import method_of, script_of

log = logging.getLogger("run")


def usage(method: str = "") -> str:
    """The help text, for one method or for any."""
    text = __doc__.format(
        command=f"bash {script_of(method or 'METHOD')}",
        method=method or "METHOD",
        methods="" if method else f"METHOD    {listed(known('trainers'))}\n",
        datasets=listed(known("datasets")),
        backbones=", ".join(known("backbones")),
        cache=default_cache().replace(os.path.expanduser("~"), "~"),
    )
    return as_typed(text)


def listed(names: list[str]) -> str:
    """Names in lines of the help text."""
    return textwrap.fill(", ".join(names), 108, subsequent_indent=" " * 10, break_on_hyphens=False)


def setting(name: str, default: str) -> str:
    """An environment variable; empty counts as not set."""
    return os.environ.get(name) or default


def parse(arguments: list[str], method: str) -> tuple[str, int, list[str]]:
    """DATASET, SHOTS and KEY VALUE pairs.

    Raises:
        ValueError: an argument is wrong. The message says what is valid.
    """
    if len(arguments) < 2:
        raise ValueError(f"DATASET and SHOTS are needed.\n\n{usage(method)}")
    dataset, shots, *options = arguments
    check_name("datasets", dataset)
    number = whole_number(shots, least=1, name="SHOTS")
    check_pairs(options)
    return dataset, number, options


def build_cells(method: str, dataset: str, shots: int, options: list[str]) -> list:
    """One cell per seed, as the environment says. The device is looked up only if a cell has to run, because this
    imports PyTorch."""
    from simnl.studies.cells import Plan, Setup, Variant, is_finished, plan_cells
    from simnl.studies.choices import targets_of

    device = setting("DEVICE", "auto")
    split_device(device)
    setup = Setup.from_environment(os.environ, cuda=False)
    targets = tuple(targets_of(dataset, setting("TARGETS", ""), setup.data))
    plan = Plan(method, dataset, shots, Variant(options=tuple(options), targets=targets))
    seeds = seeds_from(setting("SEEDS", "1 2 3"))
    cells = plan_cells(setup, plan, seeds)
    if all(map(is_finished, cells)):
        return cells
    if pick_device(device):
        cells = plan_cells(replace(setup, cuda=True), plan, seeds)
    if targets:
        from simnl.runs.targets import checked_targets

        with contextlib.redirect_stdout(None):
            checked_targets(cells[0].cfg)
    return cells


def run_all(cells: list) -> list[Path]:
    """Run all unfinished cells, and print a line for each. A failed run ends the command; finished records stay."""
    with sharing.shared() if len(cells) > 1 else contextlib.nullcontext():
        for cell in cells:
            print(printable(f"seed {cell.seed}: {run_seed(cell)}"), flush=True)
    return [Path(cell.folder) for cell in cells]


def run_seed(cell) -> str:
    """Run a cell unless it is finished, and return its result in words. Waits for another process with the same run."""
    from simnl.runs.folder import claimed
    from simnl.studies.cells import is_finished

    with claimed(cell.folder, wait=True):
        if is_finished(cell):
            return f"done before, skipped ({cell.folder})"
        from simnl.studies.executor import execute  # imported late: it imports PyTorch, which finished runs do not need

        print(printable(f"seed {cell.seed}: running, log in {cell.folder}/log.txt"), flush=True)
        start = time.perf_counter()
        record = execute(cell)
    if record is None:
        return "trained, not tested (TEST.NO_TEST)"
    return f"{record['accuracy']:.2f} % in {time.perf_counter() - start:.1f} s {_details(record)}"


def _details(record: dict) -> str:
    parts = [f"{record['encoded_images']} views encoded"]
    if record["best_epoch"]:
        parts.append(f"epoch {record['best_epoch']} of {len(record['val_accuracy_per_epoch'])}")
    parts += [f"{name} {value:.3g}" for name, value in record["hparams"].items()]
    return f"({', '.join(parts)})"


@fail_politely
def main() -> int:
    """python tools/run.py METHOD DATASET SHOTS [KEY VALUE ...]"""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    if not words and len(sys.argv) == 1:
        raise ValueError(f"METHOD, DATASET and SHOTS are needed.\n\n{usage()}")
    method = method_of(words[0]) if words else ""
    if len(words) < len(sys.argv) - 1:
        print(usage(method))
        return 0
    dataset, shots, options = parse(words[1:], method)
    print(f"{method} on {dataset}, {shots_in_words(shots)}", flush=True)

    from simnl.results.overview import runs_at_hand
    from simnl.runs.logs import configure_logging
    from simnl.runs.record import FILE
    from simnl.runs.target_configs import named_targets

    configure_logging(quiet=True)
    cells = build_cells(method, dataset, shots, options)
    folders = run_all(cells)
    if not any((folder / FILE).is_file() for folder in folders):
        return 0  # TEST.NO_TEST: there are heads, and no figures
    print(f"\n{runs_at_hand(folders, list(named_targets(cells[0].cfg)))}\n")
    print(printable(f"Runs: {folders[0].parent}/seed*/ (result.json, log.txt, tensorboard)"))
    print(as_typed(f"Tables of everything: python tools/table.py {shlex.quote(setting('OUTPUT', 'output'))}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
