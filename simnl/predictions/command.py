"""Label images with a head that a run has trained. No training image, data set or config is needed.

python tools/predict.py output/shapes/SimNL/tiny_16shots/0123abcd/seed1 my_images/
python tools/predict.py head.safetensors 'photos/*.jpg' --topk 3 --threshold 0.5 --csv labels.csv
python tools/predict.py head.safetensors cat.png --explain --html why.html
find photos -name '*.png' | python tools/predict.py head.safetensors - --sort-into sorted

docs/predict.md explains the options and what a head file holds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from simnl.commands import parser_of
from simnl.escaping import printable
from simnl.files import check_target, write_text_atomically
from simnl.numbers import argument
from simnl.predictions.images import STANDARD_INPUT, images_of

BATCH = 40  # images that are labelled and explained at once
WRITTEN = {"csv": "labels.csv", "json": "labels.json", "html": "why.html", "half": "half.safetensors"}  # with examples


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("head", metavar="HEAD", help="a head.safetensors, or the folder of a run")
    add(
        "paths",
        nargs="*",
        metavar="PATHS",
        help="images, folders and patterns; - reads a list of them from standard input",
    )
    add(
        "--topk",
        type=argument(1),
        default=1,
        metavar="K",
        help="show the K most probable classes of each image (default: 1)",
    )
    add(
        "--threshold", type=_share, default=0.0, metavar="P", help="below this probability the label is `none of these`"
    )
    add("--csv", default="", metavar="FILE", help="also write the labels to a csv file")
    add("--json", default="", metavar="FILE", help="also write all results to a json file")
    add(
        "--sort-into", default="", metavar="FOLDER", help="link each image into FOLDER/<label>/; nothing is overwritten"
    )
    add("--explain", action="store_true", help="show the parts of each logit, and the support images that spoke for it")
    add("--html", default="", metavar="FILE", help="write the explanations to an HTML page with pictures")
    add("--support-images", default="", metavar="FOLDER", help="the folder of the support images, for their pictures")
    add("--half", default="", metavar="FILE", help="write a smaller copy of the head, with frozen tensors in float16")
    add("--weights", default="", help="the place of the backbone's weights, if it differs from that in training")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a probability from 0 to 1")
    return value


def run(arguments: Sequence[str] | None = None) -> int:
    """Label images as the command line says. Returns 0, or 1 if an image could not be read.

    Raises:
        ValueError, OSError: the message says what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)
    start = time.perf_counter()
    if not (args.paths or args.half):
        raise ValueError("Name images, folders or patterns after HEAD, or - for a list of paths on standard input.")
    paths = images_of(args.paths, sys.stdin if STANDARD_INPUT in args.paths else ()) if args.paths else []

    from simnl.fewshot.head_file import halve, load
    from simnl.runs.devices import pick_device

    loaded = load(args.head, weights=args.weights, device="cuda" if pick_device(args.device) else "cpu")
    _check_files(args, paths, loaded.path)
    if args.half:
        before, after = halve(args.head, Path(args.half), weights=args.weights)
        _say(f"{args.half} has {after / 1000:.0f} kB, and {loaded.path} has {before / 1000:.0f} kB")
    if not paths:
        return 0
    return _label(args, loaded, paths, start)


def _check_files(args: argparse.Namespace, paths: Sequence[str], head: Path) -> None:
    """Check before any work that the files can be written, and that none replaces the head, an image or another one.

    Raises:
        ValueError, OSError: the message says which file, and what to do.
    """
    if args.support_images and not args.html:
        raise ValueError("--support-images is for the page of --html. Add --html FILE, or leave --support-images out.")
    if args.support_images and not os.path.isdir(args.support_images):
        raise FileNotFoundError(f"--support-images is {args.support_images}, and there is no such folder.")
    taken = {os.path.realpath(head): "the head file"}
    targets = [(f"--{name}", given) for name in WRITTEN if (given := getattr(args, name))]
    if any(os.path.exists(given) for _, given in targets):
        taken |= {os.path.realpath(path): "one of the images" for path in paths}
    for option, given in targets:
        check_target(Path(given), WRITTEN[option.removeprefix("--")])
        place = os.path.realpath(given)
        if place in taken:
            raise ValueError(f"{option} is {given}, which is {taken[place]}. Give the new file a name of its own.")
        taken[place] = f"the file of {option}, too"


def _label(args: argparse.Namespace, loaded, paths: list[str], start: float) -> int:
    from simnl.data.images import ignore_size_warnings
    from simnl.predictions.outputs import csv_text, json_text
    from simnl.predictions.page import explanation_page
    from simnl.predictions.predict import Unreadable
    from simnl.predictions.sorting import Sorter

    ignore_size_warnings()
    encoder, sorter = loaded.encoder(weights=args.weights), Sorter(args.sort_into) if args.sort_into else None
    say = _say_while_read if args.csv or args.json or args.html or args.sort_into else _say
    ready = time.perf_counter()
    answers, unreadable = [], []
    for answer in _answers(args, loaded, encoder, paths):
        if isinstance(answer, Unreadable):
            unreadable.append(answer)
            continue
        answers.append(answer)
        if sorter is not None:
            sorter.add(answer.path, answer.label)
        say("\n".join([answer.line(), *(answer.why.lines() if answer.why and args.explain else [])]))
    if args.csv:
        write_text_atomically(Path(args.csv), csv_text(answers))
    if args.json:
        write_text_atomically(Path(args.json), json_text(answers, unreadable, loaded.about.to_json()))
    if args.html:
        page = explanation_page(answers, unreadable, loaded.about, args.support_images)
        write_text_atomically(Path(args.html), page)
    _finish(len(answers), unreadable, ready - start, time.perf_counter() - ready)
    return 1 if unreadable else 0


def _answers(args: argparse.Namespace, loaded, encoder, paths: list[str]) -> Iterator:
    """An `Answer` or `Unreadable` for each path, in order. With --explain, a batch is explained at a time."""
    from simnl.predictions.explain import explain
    from simnl.predictions.outputs import Answer
    from simnl.predictions.predict import Prediction, predict

    results = predict(loaded, encoder, paths, progress=not sys.stdout.isatty())
    while part := list(islice(results, BATCH)):
        good = [result for result in part if isinstance(result, Prediction)]
        reasons = iter(explain(loaded, good) if args.explain or args.html else [None] * len(good))
        for result in part:
            if isinstance(result, Prediction):
                yield Answer.of(result, loaded.classnames, args.topk, args.threshold, next(reasons))
            else:
                yield result


def _finish(labelled: int, unreadable: Sequence, loading: float, seconds: float) -> None:
    """Write the speed, and the images that could not be read, to standard error."""
    lines = [
        f"{labelled} {'image' if labelled == 1 else 'images'} in {seconds:.1f} s, {labelled / seconds:.0f} images per "
        f"second; head and backbone were loaded in {loading:.1f} s."
    ]
    if unreadable:
        lines.append(f"{len(unreadable)} {'image' if len(unreadable) == 1 else 'images'} could not be read:")
        lines += [printable(f"  {one.path}: {one.reason}") for one in unreadable]
    sys.stderr.write("\n".join(lines) + "\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say_while_read(text: str) -> None:
    """Write a line as long as a program reads it. After that the work goes on, for the files that were asked for."""
    try:
        _say(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
