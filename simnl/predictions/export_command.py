"""Write a trained head as a program that runs without this one: torch.export (.pt2) or ONNX (.onnx).

python tools/export.py output/shapes/SimNL/tiny_16shots/0123abcd/seed1 --output head.onnx
python tools/export.py head.safetensors --with-tower --output classifier.pt2

docs/export.md says what goes into such a program, and what comes out of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simnl.commands import parser_of
from simnl.files import check_target

FORMATS = {".pt2": "torch", ".onnx": "onnx"}


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("head", metavar="HEAD", help="a head.safetensors, or the folder of a run")
    add("--output", required=True, metavar="FILE", help="the file of the program; an existing file is replaced")
    add("--with-tower", action="store_true", help="put the image tower before the head, so that pixels go in")
    add("--format", choices=list(FORMATS.values()), help="default: by the ending of FILE, .pt2 (torch) or .onnx")
    add("--weights", default="", help="the place of the backbone's weights, if it differs from that in training")
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says; 0.

    Raises:
        ValueError, OSError, ImportError, RuntimeError: the message says what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)
    output = Path(args.output)
    if (format := args.format or FORMATS.get(output.suffix)) is None:
        raise ValueError(
            f"--output is {args.output}. Give a name that ends in .pt2 or .onnx, or say --format torch or onnx."
        )
    check_target(output, "head.onnx")

    from simnl.fewshot.export import export
    from simnl.fewshot.head_file import load

    loaded = load(args.head, weights=args.weights)
    if output.exists() and output.samefile(loaded.path):
        raise ValueError(f"--output is {args.output}, the head file itself: give the program another name.")
    clip = loaded.encoder(weights=args.weights).clip if args.with_tower else None
    program = export(loaded, format, clip=clip)
    program.save(output)
    sizes = ", ".join(map(str, ["batch", *program.shape]))
    sys.stdout.write(
        f"{output}: {program.input} ({sizes}) to logits (batch, {len(loaded.classnames)}), "
        f"{len(program.content) / 1e6:.1f} MB. Its logits differ from those of the head by {program.difference:.0e} of "
        "the largest one.\n"
    )
    return 0
