"""Share a trained head on the Hugging Face hub, with a model card made from its record.

python tools/push.py output/shapes/SimNL/tiny_16shots/0123abcd/seed1 OWNER/NAME --license mit
python tools/push.py head.safetensors OWNER/NAME --private
python tools/push.py head.safetensors OWNER/NAME --folder card/   # write the files there, and upload nothing

docs/share.md says what is uploaded, and what is not.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from simnl.commands import parser_of


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("head", metavar="HEAD", help="a head.safetensors, or the folder of a run, whose accuracy is put into the card")
    add("repository", metavar="OWNER/NAME", help="the repository on the hub, which is made if it does not exist")
    add(
        "--license",
        default="",
        metavar="ID",
        help="an identifier of the hub, such as mit (default: the card has a line to fill in)",
    )
    add("--private", action="store_true", help="make a private repository")
    add("--keep-card", action="store_true", help="keep the README.md of the repository")
    add("--keep-names", action="store_true", help="keep the file names of the training images in the head file")
    add("--message", default="Share a few-shot classifier", help="the message of the commit")
    add("--folder", metavar="FOLDER", help="write the files to this folder instead of uploading them")
    return parser


def check_folder(folder: str) -> None:
    """Check that a folder is named and can be one, so that nothing is uploaded where a folder was meant.

    Raises:
        ValueError: the name is empty. NotADirectoryError: something else is in its place.
    """
    if not folder:
        raise ValueError("--folder is empty. Name a folder, or leave --folder out to upload the files.")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(f"--folder is {folder}, which is not a folder. Choose another name.")


def run(arguments: Sequence[str] | None = None) -> int:
    """Share a head as the command line says; 0. The token is that of `hf auth login`, or of HF_TOKEN.

    Raises:
        ValueError, OSError: what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)

    from simnl.classifier.card import evaluation_of_run, model_card
    from simnl.classifier.hub import SharedHead, check_name, for_others, upload
    from simnl.fewshot.head_file import load

    check_name(args.repository)
    if args.folder is not None:
        check_folder(args.folder)
    head = for_others(load(args.head), args.keep_names)
    card = model_card(head.about, args.repository, evaluation_of_run(Path(args.head)), args.license)
    shared = SharedHead(head, card)
    if args.folder is not None:
        shared.save_pretrained(args.folder)
        sys.stdout.write(f"{args.folder} has what would be uploaded.\n")
        return 0
    address = upload(shared, args.repository, args.keep_card, private=args.private or None, commit_message=args.message)
    sys.stdout.write(f"{address}\nFill in the lines of README.md that begin with **Fill in**.\n")
    return 0
