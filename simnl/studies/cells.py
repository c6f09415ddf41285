"""A matrix of runs, methods x data sets x shots x variants x seeds, and the config of every cell.

`tools/run.py` makes the cells of one method, data set and number of shots; `tools/benchmark.py` makes any number.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode as CN

from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from simnl.config_names import config_file
from simnl.errors import describe, is_for_people
from simnl.numbers import shots_in_words
from simnl.runs.backbones import PAPER_BACKBONE, backbone_settings, check_early, resolve_auto
from simnl.runs.capabilities import refusal
from simnl.runs.config import assemble
from simnl.runs.identity import RunIdentity
from simnl.runs.record import is_done
from simnl.runs.target_configs import named_targets


@dataclass(frozen=True)
class Setup:
    """What all cells of a matrix share. Each field is an environment variable of the scripts; empty: the default."""

    data: str = "data"
    output: str = "output"
    cache: str = ""
    backbone: str = "auto"
    weights: str = ""
    preset: str = "repaired"
    protocol: str = "fewshot-val"
    cuda: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, cuda: bool) -> Setup:
        """Read DATA, OUTPUT, CACHE, BACKBONE, WEIGHTS, PRESET and PROTOCOL; an empty one counts as not set.

        Raises:
            ValueError: a value is impossible.
        """
        names = [name for name in cls.__dataclass_fields__ if name != "cuda"]
        given = {name: environment[name.upper()] for name in names if environment.get(name.upper())}
        setup = cls(**given, cuda=cuda)
        setup._check()
        return setup

    def _check(self) -> None:
        if self.backbone == "auto":  # the backbone depends on the data set; weights are those of the paper's backbone
            files, settings = backbone_settings(PAPER_BACKBONE, self.weights) if self.weights else ([], {})
        else:
            files, settings = backbone_settings(self.backbone, self.weights)
        check_early(assemble(files, settings=settings | self.settings()))

    def settings(self) -> dict[str, object]:
        """The config keys of the fields, except those of the backbone."""
        settings = {
            "DATASET.ROOT": self.data,
            "PRESET": self.preset,
            "PROTOCOL": self.protocol,
            "USE_CUDA": self.cuda,
        }
        return settings | ({"STORE.ROOT": self.cache} if self.cache else {})


@dataclass(frozen=True)
class Variant:
    """The changes of a group of cells: a name for tables, KEY VALUE options, and shifted targets."""

    name: str = ""
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Runs that differ only in the seed."""

    method: str
    dataset: str
    shots: int
    variant: Variant = Variant()

    def __str__(self) -> str:
        name = f" [{self.variant.name}]" if self.variant.name else ""
        return f"{self.method} {self.dataset} {shots_in_words(self.shots)}{name}"


@dataclass
class Cell:
    """One run of a matrix.

    Attributes:
        cfg: the config of the cell; None if it cannot be run.
        refusal: why the method cannot do it; empty if it can.
        error: the fault of its config or data; empty if there is none.
        identity: the identity of the run; None if it cannot be run.
    """

    plan: Plan
    seed: int
    cfg: CN | None = None
    refusal: str = ""
    error: str = ""
    identity: RunIdentity | None = None

    def __str__(self) -> str:
        return f"{self.plan} seed {self.seed}"

    @property
    def folder(self) -> str:
        """The run's folder."""
        return self.cfg.OUTPUT_DIR if self.cfg is not None else ""


def is_finished(cell: Cell) -> bool:
    """True when the run's folder holds a valid record of its config, with all its targets."""
    if cell.cfg is None or cell.identity is None:
        return False
    return is_done(cell.folder, cell.identity.config_hash, list(named_targets(cell.cfg)))


# ---------------------------------------------------------------------- configs


def check_data(setup: Setup, dataset: str, options: Sequence[str] = ()) -> None:
    """Fail on missing data before any weights are downloaded. Data are looked for once per process and place.

    Args:
        options: KEY VALUE pairs, of which those of DATASET say where the data is. Wrong labels are left out: there is
            neither a seed nor a number of shots to draw them by, and the images are the same.

    Raises:
        FileNotFoundError: the message says what is missing and where to get it.
    """
    pairs = [pair for pair in zip(options[::2], options[1::2], strict=False) if pair[0] != "DATASET.LABEL_NOISE"]
    _look_for_data(setup, dataset, tuple(word for pair in pairs if pair[0].startswith("DATASET.") for word in pair))


@functools.cache
def _look_for_data(setup: Setup, dataset: str, options: tuple[str, ...]) -> None:
    settings = setup.settings() | {"VERBOSE": False, "TRAINER.NAME": "ZeroshotCLIP", "USE_CUDA": False}
    del settings["PRESET"], settings["PROTOCOL"]
    with contextlib.redirect_stdout(None):
        build_dataset(assemble([config_file("datasets", dataset)], options, settings))


@functools.cache
def automatic_backbone(dataset: str) -> str:
    """The backbone for `auto`, looked up once per process."""
    return resolve_auto(dataset)


def build_config(setup: Setup, plan: Plan) -> CN:
    """The frozen config of a plan, without a seed and a folder.

    Raises:
        ValueError: names or keys are unknown, or values are wrong. One message lists everything.
        FileNotFoundError: data are missing.
    """
    if setup.backbone != "auto":
        return _config_with(setup.backbone, setup, plan)
    _config_with(PAPER_BACKBONE, setup, plan)  # a wrong key is told before data are looked for, or made
    check_data(setup, plan.dataset, plan.variant.options)
    return _config_with(PAPER_BACKBONE if setup.weights else automatic_backbone(plan.dataset), setup, plan)


def _config_with(backbone: str, setup: Setup, plan: Plan) -> CN:
    dataset, method = plan.dataset, plan.method
    files, settings = backbone_settings(backbone, setup.weights)
    settings |= setup.settings() | {
        "TRAINER.NAME": method,
        "DATASET.CONFIG": dataset,
        "DATASET.NUM_SHOTS": plan.shots,
        "TEST.TARGETS": list(plan.variant.targets),
    }
    files += [config_file("datasets", dataset), config_file("trainers", method)]
    cfg = assemble(files, plan.variant.options, settings)
    check_early(cfg)
    return cfg


def plan_cells(setup: Setup, plan: Plan, seeds: Sequence[int]) -> list[Cell]:
    """One cell per seed. The hash that names all of these runs is computed once.

    Raises:
        ValueError, FileNotFoundError: see `build_config`.
    """
    cfg = build_config(setup, plan)
    identity = RunIdentity.of(cfg)
    return [_of_seed(setup, plan, cfg, identity.with_seed(seed)) for seed in seeds]


def _of_seed(setup: Setup, plan: Plan, cfg: CN, identity: RunIdentity) -> Cell:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = identity.seed
    cfg.OUTPUT_DIR = str(identity.folder(setup.output))
    cfg.freeze()
    return Cell(plan, identity.seed, cfg, identity=identity)


# Errors of a cell, in contrast to those of the whole matrix.
CELL_ERRORS = (ValueError, OSError, KeyError)


def build_cells(setup: Setup, plans: Sequence[Plan], seeds: Sequence[int], task: str = "few-shot") -> list[Cell]:
    """All cells; those that cannot be run have the reason. Cells of equal config appear once."""
    cells, seen = [], set()
    for plan in plans:
        for cell in _cells_of(setup, plan, seeds, task):
            if cell.folder not in seen or not cell.folder:
                cells.append(cell)
                seen.add(cell.folder)
    return cells


def _cells_of(setup: Setup, plan: Plan, seeds: Sequence[int], task: str) -> list[Cell]:
    try:
        check_data(setup, plan.dataset, plan.variant.options)
        cells = plan_cells(setup, plan, seeds)
    except CELL_ERRORS as error:
        return cells_that_fail(plan, seeds, error)  # a defect is raised again
    one: Any = cells[0].cfg
    eval_only = getattr(DATASET_REGISTRY.get(one.DATASET.NAME), "eval_only", False)
    arch, fallback = one.MODEL.BACKBONE.ARCH, one.TEST.NEW_CLASSES
    reason = refusal(plan.method, task=task, arch=arch, eval_only=eval_only, fallback=fallback)
    if reason:
        return [Cell(plan, seed, refusal=reason) for seed in seeds]
    return cells


def cells_that_fail(plan: Plan, seeds: Sequence[int], error: Exception) -> list[Cell]:
    """The cells of a plan that cannot be run; they are reported as failed, and the others go on.

    Raises: the error itself where it is a defect, see `simnl.errors.is_for_people`.
    """
    if not is_for_people(error):
        raise error
    return [Cell(plan, seed, error=describe(error)) for seed in seeds]
