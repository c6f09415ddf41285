"""Comparing a data set on the disk with the published one, by reading it exactly as a run would."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate
from torchvision.datasets.utils import calculate_md5

from datasets.base import FewShotDataset, Sizes
from datasets.files import some
from experiment.cli import describe
from experiment.config import CONFIGS, assemble

from .catalogue import SOURCES
from .decode import unreadable
from .layout import elsewhere, present
from .sources import Source

RIGHT = "right"
PARTS = ("classes", "train", "val", "test")


@dataclass(frozen=True)
class Report:
    """What was found of a data set, beside what was expected.

    `state` is "right", "missing", "images missing", "damaged", "wrong class count", "wrong image count", "other split"
    or "unreadable images". `found` is None where the data set could not be read. `split` is the sha256 of the split's
    content, `split_note` says whether it is the published one. `cupl`: whether the CuPL sentences are there; a data set
    is right without them.
    """

    name: str
    state: str
    expected: Sizes
    found: Sizes | None = None
    split: str = ""
    split_note: str = ""
    problem: str = ""
    fix: str = ""
    cupl: bool = False

    @property
    def right(self) -> bool:
        """Nothing speaks against it."""
        return self.state == RIGHT


def check(name: str, root: Path, deep: bool = False, workers: int = 0) -> Report:
    """Read a data set below `root` and compare it; `deep` decodes every image, with `workers` processes."""
    cfg = assemble(
        [CONFIGS / "datasets" / f"{name}.yaml"],
        settings={"DATASET.ROOT": str(root), "DATASET.NUM_SHOTS": -1, "DATASET.CONFIG": name},
    )
    from dassl.data.datasets import DATASET_REGISTRY

    kind = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    command = f"python tools/prepare_data.py {name} --root {shlex.quote(str(root))}"
    cupl = has_cupl(SOURCES[name], root)
    try:
        dataset = kind(cfg)
        found = sizes_of(dataset)  # looks for the validation images, too
    except (OSError, ValueError) as error:
        state = _state_of(error, kind, Path(root))
        problem = describe(error).splitlines()[0].split(" It comes from ")[0].split(" Run `python")[0]
        return Report(name, state, kind.published, problem=problem, fix=_advice(state, command), cupl=cupl)
    note = _split_note(name, dataset)
    state, problem = _compare(found, kind.published, note, dataset.split_file)
    broken = unreadable(image_paths(dataset), name, workers) if deep else []
    if broken:
        shown = some(f"{path} ({why})" for path, why in broken)
        state = "unreadable images" if state == RIGHT else f"{state}, unreadable images"
        problem = "; ".join(filter(None, [problem, f"{len(broken)} unreadable: {shown}"]))
    fix = _advice(state, command)
    return Report(name, state, kind.published, found, dataset.split_hash, note, problem, fix, cupl)


def has_cupl(source: Source, root: Path) -> bool:
    """Whether the CuPL sentences of a data set are where runs look for them."""
    return any(
        present(source.path(root, piece)) or elsewhere(root, source, piece) is not None
        for piece in source.pieces
        if piece.above
    )


def sizes_of(dataset: FewShotDataset) -> Sizes:
    """Classes and images of each part."""
    train = 0 if dataset.eval_only else len(dataset.train_x)
    return Sizes(dataset.num_classes, train, len(dataset.full_val or ()), len(dataset.test))


def image_paths(dataset: FewShotDataset) -> list[str]:
    """The files of all parts, each once."""
    datums = [*dataset.train_x, *(dataset.full_val or ()), *dataset.test]
    return list(dict.fromkeys(datum.impath for datum in datums))


def _state_of(error: Exception, kind: type[FewShotDataset], root: Path) -> str:
    if not isinstance(error, FileNotFoundError):
        return "damaged"
    folder = root / kind.dataset_dir
    whole = (folder / kind.image_dir).is_dir() and (folder / kind.split_file).exists()
    return "images missing" if whole else "missing"


def _split_note(name: str, dataset: FewShotDataset) -> str:
    """Whether the split is the published one; "" where there is nothing to compare with."""
    if dataset.split_origin != "standard":
        return "generated"
    piece = SOURCES[name].piece(dataset.split_file)
    if not dataset.split_file or not piece or not piece.remote or piece.member or not piece.remote.md5:
        return ""
    return "published" if calculate_md5(dataset.root / dataset.split_file) == piece.remote.md5 else "other"


def _compare(found: Sizes, expected: Sizes, note: str, split: str) -> tuple[str, str]:
    if found.classes != expected.classes:
        return "wrong class count", f"{found.classes} classes, not {expected.classes}"
    wrong = [part for part in PARTS[1:] if getattr(found, part) != getattr(expected, part)]
    if wrong:
        words = ", ".join(f"{getattr(found, part)} {part} images, not {getattr(expected, part)}" for part in wrong)
        return "wrong image count", words
    if note in ("generated", "other"):
        return "other split", f"{split} is not the published one ({note}): results do not compare"
    return RIGHT, ""


def _advice(state: str, command: str) -> str:
    if state == RIGHT:
        return ""
    if state == "missing":
        return command
    if "unreadable" in state:
        return f"replace the files named below, or move the image folder away and run {command}"
    if state == "images missing":
        return f"complete the images named below, or move their folder away and run {command}"
    what = "the file named below" if state in ("other split", "damaged") else "its folder"
    return f"move {what} away, then {command}"


def render(reports: Sequence[Report]) -> str:
    """A table, `found / expected` in each cell of counts; below it what is wrong, data set by data set."""
    rows = []
    for report in reports:
        counts = [
            f"{'-' if report.found is None else getattr(report.found, part)} / {getattr(report.expected, part)}"
            for part in PARTS
        ]
        split = " ".join(filter(None, [report.split[:12], f"({report.split_note})" if report.split_note else ""]))
        rows.append([report.name, report.state, *counts, split, "yes" if report.cupl else "no", report.fix])
    headers = ["data set\n(found / expected)", "state", *PARTS, "split hash", "CuPL", "fix"]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
    problems = [f"{report.name}: {report.problem}" for report in reports if report.problem]
    return "\n".join([table, *([""] if problems else []), *problems])
