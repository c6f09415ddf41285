"""Compare a data set on the disk with the published one, by reading it exactly as a run would."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate
from torchvision.datasets.utils import calculate_md5

from simnl.commands import as_typed
from simnl.config_names import config_file
from simnl.data.base import FewShotDataset, Sizes
from simnl.data.duplicates import PAIRS, WORDS, Shared, find_shared, in_words, remembered_digests
from simnl.data.listing import list_folders, some
from simnl.data.own_images import ImageFolder, has_parts
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.decode import unreadable
from simnl.data.preparation.layout import can_link, elsewhere, present
from simnl.data.preparation.sources import Source
from simnl.errors import describe
from simnl.escaping import printable
from simnl.runs.config import assemble

RIGHT = "right"
READABLE = "let this user read what is named below (chmod u+rX, or ask its owner)"
NOTE = "Published splits are not changed, so results are slightly too good because of these images."
PARTS = ("classes", "train", "val", "test")


@dataclass(frozen=True)
class Report:
    """What was found of a data set, and what was expected.

    `state` is "right", "missing", "images missing", "not readable" (for this user), "damaged", "wrong class count",
    "wrong image count", "other split" or "unreadable images". `found` is None if the data set could not be read.
    `split` is the SHA-256 of the split's content, and `split_note` says whether the split is the published one. `cupl`
    says whether the CuPL sentences are there; a data set is right without them. `shared` has the images that are in two
    parts by content; it is None if nobody looked. A data set is right with such images, because some published data
    sets have them; `note` says which they are.
    """

    name: str
    state: str
    expected: Sizes | None  # None for a folder of the user's own images
    found: Sizes | None = None
    split: str = ""
    split_note: str = ""
    problem: str = ""
    fix: str = ""
    cupl: bool = False
    shared: Shared | None = None
    note: str = ""

    @property
    def right(self) -> bool:
        """True if the data set has no problem."""
        return self.state == RIGHT


def check(name: str, root: Path, deep: bool = False, workers: int = 0, cache: Path | None = None) -> Report:
    """Read a data set below `root` and compare it.

    With `deep`, `workers` processes decode every image. With a `cache` (STORE.ROOT), every file is read once to find
    images that are in two parts; the digests are stored in the cache.
    """
    cfg = assemble(
        [config_file("datasets", name)],
        settings={"DATASET.ROOT": str(root), "DATASET.NUM_SHOTS": -1, "DATASET.CONFIG": name},
    )
    from dassl.data.datasets import DATASET_REGISTRY

    kind = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    command = as_typed(f"python tools/prepare_data.py {name} --root {shlex.quote(str(root))}")
    cupl = False
    try:
        cupl = has_cupl(SOURCES[name], root)
        dataset = kind(cfg)
        found = sizes_of(dataset)  # this looks for the validation images, too
    except (OSError, ValueError) as error:
        state = _state_of(error, kind, Path(root))
        problem = describe(error).splitlines()[0].split(" It comes from ")[0].split(" Run `")[0]
        linkable = state in ("missing", "images missing") and can_link(root, SOURCES[name])
        fix = command if linkable else _advice(state, command)
        return Report(name, state, kind.published, problem=problem, fix=fix, cupl=cupl)
    split_note = _split_note(name, dataset)
    state, problem = _compare(found, kind.published, split_note, dataset.split_file)
    if deep:
        state, problem = _decoded(dataset, name, workers, state, problem)
    shared = None
    if cache:
        try:
            shared = find_shared(part_paths(dataset), remembered_digests(cache, name))
        except PermissionError as error:
            state, problem = "not readable", "; ".join(filter(None, [problem, describe(error)]))
    fix = _advice(state, command)
    note = in_words(shared, dataset.image_root) if shared else ""
    return Report(name, state, kind.published, found, dataset.split_hash, split_note, problem, fix, cupl, shared, note)


def check_folder(folder: Path, cache: Path, deep: bool = False, workers: int = 0) -> Report:
    """Read a folder of the user's own images as a run would, without writing into it. `Report.expected` is None.

    This always looks for images that are in two parts, with `cache` (STORE.ROOT) for the digests, which a run needs
    anyway. Other oddities come as warnings of the loggers of `simnl.data`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        settings = {"DATASET.FOLDER": str(folder), "DATASET.NUM_SHOTS": -1, "STORE.ROOT": str(cache)}
        kept = folder / ImageFolder.split_file
        if folder.is_dir() and not kept.exists() and not has_parts(list_folders(folder)):
            settings["DATASET.SPLIT_FILE"] = str(Path(temporary, kept.name))  # the split that a run will make
        try:
            cfg = assemble([config_file("datasets", "imagefolder")], settings=settings)
            dataset = ImageFolder(cfg)
            found = sizes_of(dataset)
        except (OSError, ValueError) as error:
            kinds = {FileNotFoundError: "missing", PermissionError: "not readable"}
            state = next((state for kind, state in kinds.items() if isinstance(error, kind)), "damaged")
            fix = READABLE if state == "not readable" else "see below"
            return Report(folder.name, state, None, problem=describe(error), fix=fix)
    state, problem = _decoded(dataset, folder.name, workers, RIGHT, "") if deep else (RIGHT, "")
    note = dataset.split_origin if kept.exists() or "DATASET.SPLIT_FILE" not in settings else "made by the first run"
    cupl = (folder / cfg.PROMPTS.CUPL).is_file()
    fix = "" if state == RIGHT else "replace the files named below"
    return Report(folder.name, state, None, found, dataset.split_hash, note, problem, fix, cupl, dataset.shared)


def _decoded(dataset: FewShotDataset, name: str, workers: int, state: str, problem: str) -> tuple[str, str]:
    """State and problem, to which images that cannot be decoded are added."""
    broken = unreadable(image_paths(dataset), name, workers)
    if not broken:
        return state, problem
    shown = some(f"{path} ({why})" for path, why in broken)
    state = "unreadable images" if state == RIGHT else f"{state}, unreadable images"
    return state, "; ".join(filter(None, [problem, f"{len(broken)} unreadable: {shown}"]))


def has_cupl(source: Source, root: Path) -> bool:
    """Whether the CuPL sentences of a data set are where runs look for them."""
    return any(
        present(source.path(root, piece)) or elsewhere(root, source, piece) is not None
        for piece in source.pieces
        if piece.above
    )


def sizes_of(dataset: FewShotDataset) -> Sizes:
    """The numbers of classes and of the images of each part."""
    parts = part_paths(dataset)
    return Sizes(dataset.num_classes, *(len(parts[part]) for part in ("train", "val", "test")))


def part_paths(dataset: FewShotDataset) -> dict[str, list[str]]:
    """The files of each part; an evaluation set has test images only."""
    train = None if dataset.eval_only else dataset.train_x
    parts = {"train": train, "val": dataset.full_val, "test": dataset.test}
    return {part: [datum.impath for datum in datums or ()] for part, datums in parts.items()}


def image_paths(dataset: FewShotDataset) -> list[str]:
    """The files of all parts, each once."""
    return list(dict.fromkeys(path for paths in part_paths(dataset).values() for path in paths))


def _state_of(error: Exception, kind: type[FewShotDataset], root: Path) -> str:
    """ "images missing" if folders and files are there but some of the images in them are not."""
    if isinstance(error, PermissionError):
        return "not readable"
    if not isinstance(error, FileNotFoundError):
        return "damaged"
    folder = root / kind.dataset_dir
    parts = ("train", "val") if kind.config_name == "imagenet" else (".",)
    needed = [Path(kind.image_dir, part) for part in parts] + [Path(kind.split_file or "classnames.txt")]
    return "images missing" if all(present(folder / place) for place in needed) else "missing"


def _split_note(name: str, dataset: FewShotDataset) -> str:
    """Whether the split is the published one; "" if there is nothing to compare it with."""
    if dataset.split_origin != "standard":
        return "generated"
    piece = SOURCES[name].piece(dataset.split_file)
    if not dataset.split_file or not piece or not piece.remote or piece.member or not piece.remote.md5:
        return ""
    return "published" if calculate_md5(dataset.root / dataset.split_file) == piece.remote.md5 else "other"


def _compare(found: Sizes, expected: Sizes, note: str, split: str) -> tuple[str, str]:
    if found.classes != expected.classes:
        return "wrong class count", f"{found.classes} classes were found, {expected.classes} are expected"
    wrong = [part for part in PARTS[1:] if getattr(found, part) != getattr(expected, part)]
    if wrong:
        counts = [(part, getattr(found, part), getattr(expected, part)) for part in wrong]
        words = [f"{here} {part} images were found, {there} are expected" for part, here, there in counts]
        return "wrong image count", "; ".join(words)
    if note in ("generated", "other"):
        return "other split", f"{split} is not the published split ({note}), so results cannot be compared"
    return RIGHT, ""


def _advice(state: str, command: str) -> str:
    if state == RIGHT:
        return ""
    if state == "missing":
        return command
    if state == "not readable":
        return READABLE
    if "unreadable" in state:
        return f"replace the files named below, or move the image folder away and run {command}"
    if state == "images missing":
        return f"complete the images named below, or move their folder away and run {command}"
    what = "the file named below" if state in ("other split", "damaged") else "its folder"
    return f"move {what} away, then run {command}"


def render(reports: Sequence[Report]) -> str:
    """A table with `found / expected` in each cell of counts, and below it the problems of each data set."""
    looked = any(report.shared is not None for report in reports)
    rows = []
    for report in reports:
        split = " ".join(filter(None, [report.split[:12], f"({report.split_note})" if report.split_note else ""]))
        row = [report.name, report.state, *_counts(report), split, "yes" if report.cupl else "no"]
        rows.append([*row, *([_shared_counts(report.shared)] if looked else []), report.fix])
    headers = ["data set\n(found / expected)", "state", *PARTS, "split hash", "CuPL"]
    headers += [*(["in two parts"] if looked else []), "fix"]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
    lines = [f"{report.name}: {report.problem}" for report in reports if report.problem]
    lines += [f"{report.name}: note: {report.note}. {NOTE}" for report in reports if report.note]
    return printable("\n".join([table, *([""] if lines else []), *lines]), lines=True)


def _counts(report: Report) -> list[str]:
    found = ["-" if report.found is None else str(getattr(report.found, part)) for part in PARTS]
    if report.expected is None:
        return found
    return [f"{count} / {getattr(report.expected, part)}" for count, part in zip(found, PARTS, strict=True)]


def _shared_counts(shared: Shared | None) -> str:
    if shared is None:
        return "-"
    counts = [f"{len(shared[pair])} {WORDS[pair[0]]}/{WORDS[pair[1]]}" for pair in PAIRS if pair in shared]
    return ", ".join(counts) or "none"
