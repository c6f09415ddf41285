"""usage: bash scripts/{script}/main.sh DATASET SHOTS [KEY VALUE ...]

Runs {method} on DATASET with SHOTS training images per class, once per seed, and prints a table of these runs, beside
those of other methods with the same data, shots, seeds, weights, preset and protocol. Finished runs are skipped,
interrupted ones continue.
Examples:

  bash scripts/{script}/main.sh shapes 16                    # offline: bundled data and bundled tiny CLIP
  DATA=/data bash scripts/{script}/main.sh dtd 4             # the paper's ResNet-50
  DATA=/data BACKBONE=vit_b16 SEEDS="1 2 3 4 5" bash scripts/{script}/main.sh imagenet 16 OPTIM.MAX_EPOCH 30

DATASET   {datasets}
SHOTS     1, 2, 4, 8 or 16 in the paper; any number from 1
KEY VALUE config keys, see configs/trainers/{method}.yaml and docs/architecture.md

Environment variables (value in brackets: the default)
  DATA      data root, the folder that holds the data sets' folders   [data]
  OUTPUT    where runs are written                                     [output]
  CACHE     feature store, few-shot draws, rendered images             [{cache}]
  BACKBONE  auto, {backbones}, or an open_clip architecture            [auto]
            auto: the bundled tiny CLIP for shapes, else rn50 (the tiny CLIP, with a warning, where rn50's weights
            are neither here nor downloadable)
  WEIGHTS   open_clip weights tag or a checkpoint's path               [the backbone's own]
  SEEDS     seeds, separated by blanks                                 [1 2 3]
  PRESET    repaired: the authors' mistakes mended; official: kept     [repaired]
  PROTOCOL  what hyper-parameters are selected on: no-val, fewshot-val (min(K,4) images per class), full-val (the
            whole validation split, as the authors do) or oracle-test (the test set)   [fewshot-val]
  TARGETS   shifted data sets to test on too: config names, or `variants` for all variants of DATASET   []
  DEVICE    auto, cpu, cuda or cuda:N                                  [auto]
  DEBUG     1: show tracebacks                                         []
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.runs.cli import check_name, check_pairs, fail_politely, known, seeds_from
from simnl.runs.devices import pick_device

log = logging.getLogger("run")


def usage(method: str, script: str) -> str:
    """The help text."""
    from simnl.runs.config import default_cache

    return __doc__.format(
        method=method,
        script=script,
        datasets=", ".join(known("datasets")),
        backbones=", ".join(known("backbones")),
        cache=default_cache().replace(os.path.expanduser("~"), "~"),
    )


def setting(name: str, default: str) -> str:
    """An environment variable; empty counts as not set."""
    return os.environ.get(name) or default


def parse(arguments: list[str], method: str, script: str) -> tuple[str, int, list[str]]:
    """DATASET, SHOTS and KEY VALUE pairs.

    Raises:
        ValueError: what is wrong, with what is valid.
    """
    if len(arguments) < 2:
        raise ValueError(f"DATASET and SHOTS are needed.\n\n{usage(method, script)}")
    dataset, shots, *options = arguments
    check_name("datasets", dataset)
    if not shots.isdigit() or int(shots) < 1:
        raise ValueError(f"SHOTS is '{shots}'. Give a whole number from 1; the paper has 1, 2, 4, 8 and 16.")
    check_pairs(options)
    return dataset, int(shots), options


def build_configs(method: str, dataset: str, shots: int, options: list[str]) -> list:
    """One frozen config per seed, as the environment says."""
    from simnl.studies.cells import Plan, Setup, Variant, build_configs, targets_of

    cuda = pick_device(setting("DEVICE", "auto"))
    variant = Variant(options=tuple(options), targets=tuple(targets_of(dataset, setting("TARGETS", ""))))
    setup = Setup.from_environment(os.environ, cuda=cuda)
    return build_configs(setup, Plan(method, dataset, shots, variant), seeds_from(setting("SEEDS", "1 2 3")))


def run_all(configs: list) -> list[Path]:
    """Run what is not done; one line per run. A failed run ends the command, the others' records stay."""
    for cfg in configs:
        print(f"seed {cfg.SEED}: {run_seed(cfg)}", flush=True)
    return [Path(cfg.OUTPUT_DIR) for cfg in configs]


def run_seed(cfg) -> str:
    """Run a config unless it is done; returns what became of it. Waits where another process runs the same."""
    from simnl.studies.cells import is_finished
    from simnl.studies.executor import claimed, execute

    with claimed(cfg.OUTPUT_DIR, wait=True):
        if is_finished(cfg):
            return f"done before, skipped ({cfg.OUTPUT_DIR})"
        print(f"seed {cfg.SEED}: running, log in {cfg.OUTPUT_DIR}/log.txt", flush=True)
        start = time.perf_counter()
        record = execute(cfg)
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
    """python tools/run.py METHOD SCRIPT DATASET SHOTS [KEY VALUE ...]"""
    method, script, *arguments = sys.argv[1:]
    check_name("trainers", method)
    if {"-h", "--help"} & set(arguments):
        print(usage(method, script))
        return 0
    dataset, shots, options = parse(arguments, method, script)
    print(f"{method} on {dataset}, {shots} shots", flush=True)

    from simnl.results.overview import runs_at_hand
    from simnl.runs.record import FILE
    from simnl.runs.run import configure_logging

    configure_logging(quiet=True)
    configs = build_configs(method, dataset, shots, options)
    folders = run_all(configs)
    if not any((folder / FILE).is_file() for folder in folders):
        return 0  # TEST.NO_TEST: there are heads, and no figures
    print(f"\n{runs_at_hand(folders, configs[0].TEST.TARGETS)}\n")
    print(f"Runs: {folders[0].parent}/seed*/ (result.json, log.txt, tensorboard)")
    print(f"Tables of everything: python tools/table.py {shlex.quote(setting('OUTPUT', 'output'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
