"""The command that learns from a folder of pictures and writes a head file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from simnl.commands import parser_of
from simnl.data.classnames import read_names
from simnl.data.listing import describe, list_folders, list_images
from simnl.data.own_images import CLASSNAMES_FILE
from simnl.files import is_writable
from simnl.numbers import argument

ABOUT = """Learn from a folder of pictures, one sub-folder per class, and write what was learned to one file.

simnl fit photos head.safetensors --backbone vit_b16
simnl predict head.safetensors new_photos/

docs/classifier.md of the repository explains both, and the same from Python (simnl.FewShotClassifier)."""


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
    add("--validation", type=float, default=None, metavar="SHARE", help="hold out this share of each class and choose "
        "epoch and hyper-parameters on it (0 to 1; default: nothing is chosen)")  # fmt: skip
    add("--seed", type=argument(0), default=1, help="the seed of all random numbers (default: 1)")
    add("--device", default="auto", help="auto, cpu or cuda")
    return parser


def labelled_pictures(folder: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Paths, labels (names of class folders), and the name of each class.

    Raises:
        FileNotFoundError: there is no class folder, or a class has no picture; ValueError: `classnames.txt` is wrong.
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


def check_target(path: Path) -> None:
    """Check that the head file can be written, before anything is learned.

    Raises:
        IsADirectoryError, PermissionError: it cannot. The message says what to do.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file, such as {path / 'head.safetensors'}.")
    if path.parent.is_dir() and not is_writable(path):
        raise PermissionError(f"{path} may not be written. Choose another place.")


def run(arguments: Sequence[str] | None = None) -> int:
    """Learn as the command line says.

    Raises:
        ValueError, OSError: the message says what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)
    paths, labels, names = labelled_pictures(Path(args.folder))
    check_target(Path(args.head))

    from simnl.classifier import FewShotClassifier

    classifier = FewShotClassifier(
        args.method, backbone=args.backbone, weights=args.weights, classnames=names, validation=args.validation,
        random_state=args.seed, device=args.device, verbose=True,
    )  # fmt: skip
    classifier.fit(paths, labels).save(args.head)
    record = classifier.record_
    print(f"{args.head}: {record['method']} on {record['num_train']} pictures of {len(names)} classes.")
    return 0
