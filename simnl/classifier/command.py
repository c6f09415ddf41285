"""The command that learns from a folder of pictures and writes a head file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simnl.commands import parser_of
from simnl.data.classnames import read_names
from simnl.data.listing import describe, list_folders, list_images, some
from simnl.data.own_images import CLASSNAMES_FILE
from simnl.files import check_target
from simnl.numbers import argument

ABOUT = """Learn from a folder of pictures, one sub-folder per class, and write what was learned to one file.

simnl fit photos head.safetensors --backbone vit_b16
simnl predict head.safetensors new_photos/

docs/classifier.md of the repository explains both, and the same from Python (simnl.FewShotClassifier)."""
EXAMPLE = "head.safetensors"
TINY_NOTE = (
    "Note: no --backbone is named, so this is the bundled tiny CLIP, which knows rendered figures only: on photographs "
    "its labels mean nothing. Name one, such as --backbone vit_b16, or say --backbone tiny to have no note.\n"
)


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = parser_of(ABOUT)
    add = parser.add_argument
    add(
        "folder",
        metavar="FOLDER",
        help="a folder with one sub-folder of pictures per class, and perhaps classnames.txt",
    )
    add("head", metavar="HEAD", help="the file to write, such as head.safetensors")
    add("--method", default="SimNL", help="the name of a method (default: SimNL)")
    add("--backbone", default=None, help="rn50, vit_b16, ... (default: the bundled tiny CLIP, for rendered figures)")
    add("--weights", default=None, help="a weights tag, or the path of a checkpoint")
    add("--validation", type=_validation, default=None, metavar="SHARE", help="hold out this share of each class, "
        "between 0 and 1, and choose epoch and hyper-parameters on it; or held-shot: a first training chooses "
        "hyper-parameters on one picture of each class, and a second one learns from all (default: nothing is "
        "chosen)")  # fmt: skip
    add("--seed", type=argument(0), default=1, help="the seed of all random numbers (default: 1)")
    add("--device", default="auto", help="auto, cpu or cuda")
    return parser


def _validation(text: str) -> float | str:
    if text == "held-shot":
        return text
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a share between 0 and 1 nor held-shot")
    return share


def labelled_pictures(folder: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Paths, labels (names of class folders), and the name of each class.

    Raises:
        FileNotFoundError: there is no class folder, or a class has no picture.
        ValueError: there is one class alone, or `classnames.txt` is wrong.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}. Name a folder with one sub-folder of pictures per class."
        )
    classes = list_folders(folder)
    if not classes:
        raise FileNotFoundError(
            f"There is no class folder: {describe(folder)}. Make a sub-folder of pictures for each class."
        )
    if len(classes) < 2:
        raise ValueError(
            f"{folder} has one class folder, {some(classes)}, but two or more classes are needed. Add a folder."
        )
    paths, labels = [], []
    for name in classes:
        found = [str(folder / name / image) for image in list_images(folder / name)]
        if not found:
            raise FileNotFoundError(
                f"A class folder has no picture: {describe(folder / name)}. Add pictures, or remove the folder."
            )
        paths += found
        labels += [name] * len(found)
    names = folder / CLASSNAMES_FILE
    return paths, labels, read_names(names, classes) if names.is_file() else {name: name for name in classes}


def _check_is_head(path: Path) -> None:
    """Check that a file that is to be replaced is a head file, and not, say, one of the pictures.

    Raises:
        FileExistsError: it is something else.
    """
    from simnl.fewshot.checkpoint import read_tensors

    try:
        read_tensors(path, "")
    except ValueError as error:
        raise FileExistsError(
            f"{path} exists and is not a head file, so it is not replaced. Choose another name, or remove it."
        ) from error


def run(arguments: Sequence[str] | None = None) -> int:
    """Learn as the command line says.

    Raises:
        ValueError, OSError: the message says what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)
    paths, labels, names = labelled_pictures(Path(args.folder))
    head = Path(args.head)
    check_target(head, EXAMPLE)
    if head.is_file():
        _check_is_head(head)

    from simnl.classifier import FewShotClassifier
    from simnl.data.images import ignore_size_warnings

    ignore_size_warnings()
    if args.backbone is None:
        sys.stderr.write(TINY_NOTE)
    classifier = FewShotClassifier(
        args.method, backbone=args.backbone or "tiny", weights=args.weights, classnames=names,
        validation=args.validation, random_state=args.seed, device=args.device, verbose=True,
    )  # fmt: skip
    classifier.fit(paths, labels).save(head)
    record = classifier.record_
    print(f"{args.head}: {record['method']} on {record['num_train']} pictures of {len(names)} classes.")
    return 0
