"""Encode what the cells of a matrix will need before any of them runs. Several processes share the images.

To find out what is needed, the inputs of each cell are built on a store that only takes notes. So what is found is by
construction what the run will ask for.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.data.datasets import build_dataset
from simnl.clip.model import FrozenCLIP
from simnl.clip.prompts import encode_prompt_sets
from simnl.clip.store import FeatureStore
from simnl.clip.views import ViewSpec
from simnl.data.wrong_labels import WrongLabels
from simnl.declarations import loaded
from simnl.errors import describe, is_for_people
from simnl.fewshot.description import taken_by
from simnl.fewshot.inputs import FeatureInputs, load_backbone, open_store
from simnl.fewshot.selection import selection_images
from simnl.fewshot.support import held_out
from simnl.runs.target_configs import target_config
from simnl.runs.targets import build_targets
from simnl.studies.cells import CELL_ERRORS, Cell

log = logging.getLogger(__name__)

Needs = dict[ViewSpec, dict[str, set[int]]]  # transform -> image file -> numbers of its views


class NoteTaker:
    """Stands in for the feature store; gives zeros and remembers what it was asked for."""

    def __init__(self):
        self.needs: Needs = {}

    def warm(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> None:
        """Warm the store, see `FeatureStore.warm`."""
        for path in paths:
            self.needs.setdefault(spec, {}).setdefault(path, set()).update(views)

    def images(self, paths: Sequence[str], spec: ViewSpec, views: Sequence[int] = (0,)) -> Tensor:
        """Features as of `FeatureStore.images`, of width 1."""
        self.warm(paths, spec, views)
        return torch.zeros(len(views), len(paths), 1)


def clip_of(cfg) -> FrozenCLIP:
    """The frozen model of a config as its method sees it; weights are loaded once per process."""
    takes = taken_by(loaded(cfg.TRAINER.NAME).of(cfg))
    device = "cuda" if cfg.USE_CUDA and torch.cuda.is_available() else "cpu"
    return load_backbone(cfg.MODEL.BACKBONE, torch.device(device), takes)


def needs_of(cfg) -> Needs:
    """The views of images that a run will read: test, training, validation, shifted targets."""
    trainer, notes = loaded(cfg.TRAINER.NAME).of(cfg), NoteTaker()
    if not trainer.image_encoder_frozen:
        return {}
    inputs = FeatureInputs(cfg, cast("FeatureStore", notes), clip_of(cfg).preprocess, torch.device("cpu"))
    dataset = build_dataset(cfg)
    for source in (dataset, *build_targets(cfg).values()):
        inputs.stream(source.test)
    if trainer.uses_support:
        if isinstance(dataset, WrongLabels) and dataset.needs_confusions():
            dataset.confuse([(label + 1) % dataset.num_classes for label in range(dataset.num_classes)])  # any will do
        if isinstance(dataset, WrongLabels) and dataset.needs_features():
            dataset.look_at(lambda paths: np.zeros((len(paths), 1)))  # images are the same with any labels
        inputs.support(dataset)
        held = held_out(dataset.train_x or []) if cfg.PROTOCOL == "held-shot" else []
        inputs.validation([*selection_images(cfg, dataset), *held])
    return notes.needs


def encode_prompts(cfg, store: FeatureStore) -> None:
    """The fixed prompts of a run; those of its targets, too, among them new classes."""
    trainer = loaded(cfg.TRAINER.NAME).of(cfg)
    needed = trainer.prompt_sets_of(trainer.node_of(cfg))
    targets = [(target_config(cfg, name), source) for name, source in build_targets(cfg).items()]
    for of, source in ((cfg, build_dataset(cfg)), *targets):
        names = tuple(source.lab2cname[label] for label in range(source.num_classes))
        encode_prompt_sets(of, source, names, store, needed, trainer.optional_prompt_sets)


def union(parts: Iterable[Needs]) -> Needs:
    """All of them in one."""
    total: Needs = {}
    for part in parts:
        for spec, images in part.items():
            for path, views in images.items():
                total.setdefault(spec, {}).setdefault(path, set()).update(views)
    return total


def share(needs: Needs, rank: int, world: int) -> list[tuple[ViewSpec, tuple[int, ...], list[str]]]:
    """This process's part: (transform, numbers of views, files), each file in one process only."""
    work = []
    for spec, images in needs.items():
        groups: dict[tuple[int, ...], list[str]] = {}
        for path in sorted(images)[rank::world]:
            groups.setdefault(tuple(sorted(images[path])), []).append(path)
        work += [(spec, views, paths) for views, paths in groups.items()]
    return work


def by_store(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells that can be run, in groups of one architecture, weights, precision and layer: these share a store."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.cfg is not None:
            clip = clip_of(cell.cfg)
            layer = clip.image_projection is None, clip.patches
            groups.setdefault((clip.arch, clip.fingerprint, clip.precision, *layer), []).append(cell)
    return list(groups.values())


def total_needs(cells: Sequence[Cell]) -> tuple[int, int]:
    """How many views runs will read, and of how many images; a view that several read counts once per store.

    Errors as in `warm`.
    """
    views = 0
    files: set[str] = set()
    for some in by_store(cells):
        for images in union(tried(needs_of, some)).values():
            views += sum(map(len, images.values()))
            files.update(images)
    return views, len(files)


def warm(cells: Sequence[Cell], rank: int = 0, world: int = 1) -> int:
    """Encode this process's share of what runs will read; the first process encodes their prompts.

    Args:
        cells: whose config is to be run. One whose data or prompts are not all there gets the reason as its `error`,
            and the others go on.
        rank, world: this process's number and how many there are.

    Returns:
        The number of views that had to be encoded.
    """
    encoded = 0
    for some in by_store(cells):
        first: Any = some[0].cfg
        store = open_store(first, clip_of(first), exclusive=world == 1)
        for spec, views, paths in share(union(tried(needs_of, some)), rank, world):
            store.warm(paths, spec, views)
        if rank == 0:
            list(tried(functools.partial(encode_prompts, store=store), some))
        encoded += store.encoded_images
    return encoded


def tried(function: Callable[[CN], object], cells: Iterable[Cell]) -> Iterator:
    """What a function gives for the config of each cell without an error; one that it raises becomes the cell's."""
    for cell in cells:
        if cell.error:
            continue
        try:
            yield function(cell.cfg)
        except CELL_ERRORS as error:
            if not is_for_people(error):
                raise
            cell.error = describe(error)
