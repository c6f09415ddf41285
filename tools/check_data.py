"""Check data sets on the disk against the published ones, or a folder of your own images.

python tools/check_data.py caltech101 oxford_pets --root data
python tools/check_data.py --all --root data --deep --duplicates  # also decodes every image, and compares parts
python tools/check_data.py --paper --root data                    # all data and weights of the paper's tables
python tools/check_data.py --folder /path/to/mine                 # your own images: what a run would read
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.errors import fail_politely
from simnl.locations import default_cache


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = parser_of(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="config names of data sets, e.g. oxford_pets")
    parser.add_argument("--all", action="store_true", help="check all data sets of the program")
    parser.add_argument(
        "--paper", action="store_true", help="check the fifteen data sets and the weights of the paper's tables"
    )
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="FILE",
        help="for --paper without a network: OpenAI's files, under their own names RN50.pt and ViT-B-32.pt",
    )  # fmt: skip
    parser.add_argument("--root", help="the folder that holds the data sets' folders")
    parser.add_argument("--folder", help="a folder of your own images, as in docs/your_own_data.md")
    parser.add_argument("--deep", action="store_true", help="decode every image, on all cores")
    parser.add_argument(
        "--duplicates",
        action="store_true",
        help="look for images of equal content in two parts, which is always done for --folder. This reads every file "
        "once, which takes minutes for most data sets and an hour or more for ImageNet",
    )
    parser.add_argument("--cache", help="the folder for digests of files [CACHE, else ~/.cache/simnl]")
    return parser


@fail_politely
def main() -> int:
    """Entry point; 0 only where every data set asked for is right."""
    parser = build_parser()
    args = parser.parse_args()
    if not args.folder and not args.root:
        parser.error("give --root, the folder that holds the data sets' folders, or --folder, one of your own images")
    if args.folder and (args.names or args.all or args.paper):
        parser.error("--folder is a check of its own: leave the names out")
    if args.weights and not args.paper:
        parser.error("--weights is for --paper")
    from simnl.runs.data_check import render

    if args.paper:
        from simnl.runs import weights_check

        files = weights_check.files_for(args.weights)
    found = reports(args)
    print(render(found))
    right = all(report.right for report in found)
    if args.paper:
        weights = [
            weights_check.check_weights(name, tables, files[name]) for name, tables in weights_check.PAPER.items()
        ]
        print(f"\n{weights_check.render(weights)}")
        right = right and all(report.right for report in weights)
    return int(not right)


def reports(args: argparse.Namespace) -> list:
    """What is asked for, checked."""
    from simnl.data.preparation.names import chosen, data_root
    from simnl.runs.data_check import check, check_folder
    from simnl.runs.outlier_sets import check_outliers
    from simnl.runs.outlier_sets import names as outliers

    cache = Path(args.cache or os.environ.get("CACHE") or default_cache()).expanduser()
    if args.folder:
        logging.basicConfig(level=logging.WARNING, format="Note: %(message)s")
        return [check_folder(Path(args.folder).expanduser().absolute(), cache, args.deep)]
    logging.getLogger("simnl.data.base").setLevel(logging.ERROR)  # the table says what its warnings say
    names = chosen(args.names, args.all, args.paper)
    root = data_root(args.root, names)
    shared = cache if args.duplicates else None
    return [
        check_outliers(name, root) if name in outliers() else check(name, root, args.deep, cache=shared)
        for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
