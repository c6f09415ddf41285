"""usage: bash scripts/{script}/main.sh DATASET SHOTS [KEY VALUE ...]

Runs {method} on DATASET with SHOTS training images per class, once per seed, and prints a table, beside whatever else
was run on the same data, shots, weights, preset and protocol. Finished runs are skipped, interrupted ones continue.
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

import contextlib
import logging
import os
import sys
import time
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from experiment.cli import check_name, fail_politely, known, pick_device

log = logging.getLogger("run")


def usage(method: str, script: str) -> str:
    """The help text."""
    from experiment.config import default_cache

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


def seeds_from(text: str) -> list[int]:
    """`1 2 3` or `1,2,3` to numbers.

    Raises:
        ValueError: none, or one that is no number from 0.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdigit() for word in words):
        raise ValueError(f"SEEDS is '{text}'. Give whole numbers from 0, e.g. SEEDS='1 2 3'.")
    return [int(word) for word in words]


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
    return dataset, int(shots), options


def targets_of(dataset: str, text: str) -> list[str]:
    """The data sets that TARGETS names; `variants`: those whose config name starts with the data set's.

    Raises:
        ValueError: an unknown name, or a data set without variants.
    """
    if text != "variants":
        return [check_name("datasets", name) for name in text.replace(",", " ").split()]
    variants = [name for name in known("datasets") if name.startswith(dataset) and name != dataset]
    if not variants:
        raise ValueError(f"{dataset} has no shifted variants; imagenet and shapes have.")
    return variants


def check_data(dataset: str, options: list[str]) -> None:
    """Fail on missing data before any weights are downloaded."""
    from dassl.data.datasets import build_dataset
    from experiment.config import CONFIGS, assemble

    settings = {"DATASET.ROOT": setting("DATA", "data"), "VERBOSE": False, "TRAINER.NAME": "ZeroshotCLIP"}
    if os.environ.get("CACHE"):
        settings["STORE.ROOT"] = os.environ["CACHE"]
    with contextlib.redirect_stdout(None):
        build_dataset(assemble([CONFIGS / "datasets" / f"{dataset}.yaml"], options, settings))


def build_configs(method: str, dataset: str, shots: int, options: list[str]) -> list:
    """One frozen config per seed."""
    from experiment.backbones import backbone_settings, resolve_auto
    from experiment.config import CONFIGS, assemble
    from experiment.run import run_folder

    cuda = pick_device(setting("DEVICE", "auto"))
    targets = targets_of(dataset, setting("TARGETS", ""))
    backbone, weights = setting("BACKBONE", "auto"), setting("WEIGHTS", "")
    if backbone == "auto":
        check_data(dataset, options)
        backbone = "rn50" if weights else resolve_auto(dataset)
    files, settings = backbone_settings(backbone, weights)
    settings |= {
        "TRAINER.NAME": method,
        "DATASET.CONFIG": dataset,
        "DATASET.NUM_SHOTS": shots,
        "DATASET.ROOT": setting("DATA", "data"),
        "PRESET": setting("PRESET", "repaired"),
        "PROTOCOL": setting("PROTOCOL", "fewshot-val"),
        "USE_CUDA": cuda,
        "TEST.TARGETS": targets,
    }
    if os.environ.get("CACHE"):
        settings["STORE.ROOT"] = os.environ["CACHE"]
    files += [CONFIGS / "datasets" / f"{dataset}.yaml", CONFIGS / "trainers" / f"{method}.yaml"]
    configs = []
    for seed in seeds_from(setting("SEEDS", "1 2 3")):
        cfg = assemble(files, options, {**settings, "SEED": seed}).clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(run_folder(setting("OUTPUT", "output"), cfg))
        cfg.freeze()
        configs.append(cfg)
    return configs


def run_all(configs: list) -> list[Path]:
    """Run what is not done; one line per run. A failed run ends the command, the others' records stay."""
    from experiment.config import config_hash
    from experiment.record import is_done
    from experiment.run import run_log, run_one

    for cfg in configs:
        if is_done(cfg.OUTPUT_DIR, config_hash(cfg), cfg.TEST.TARGETS):
            print(f"seed {cfg.SEED}: done before, skipped ({cfg.OUTPUT_DIR})")
            continue
        print(f"seed {cfg.SEED}: running, log in {cfg.OUTPUT_DIR}/log.txt", flush=True)
        start = time.perf_counter()
        with run_log(cfg.OUTPUT_DIR, quiet=True):
            record = run_one(cfg)
        if record is None:
            print(f"seed {cfg.SEED}: trained, not tested (TEST.NO_TEST)")
            continue
        print(f"seed {cfg.SEED}: {record['accuracy']:.2f} % in {time.perf_counter() - start:.1f} s {_details(record)}")
    return [Path(cfg.OUTPUT_DIR) for cfg in configs]


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

    from experiment.run import configure_logging
    from experiment.tables import comparable, find_records, render, summarise

    configure_logging(quiet=True)
    configs = build_configs(method, dataset, shots, options)
    folders = run_all(configs)
    mine = find_records(folders)[0]
    others = find_records([Path(setting("OUTPUT", "output")) / dataset])
    print(f"\n{render(summarise(comparable(others, mine)), 'terminal')}\n")
    print(f"Runs: {folders[0].parent}/seed*/ (result.json, log.txt, tensorboard)")
    print(f"Tables of everything: python tools/table.py {setting('OUTPUT', 'output')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
