"""Draw figures of what has been run.

python tools/plot.py fewshot output                              # fewshot.png
python tools/plot.py sensitivity output/imagenet --output tau.svg
python tools/plot.py confusion output/shapes/SimNL/tiny_16shots/0123abcd/seed1

fewshot      accuracy over shots, with a panel for each data set and one for their average
sensitivity  accuracy over alpha, beta, lambda, tau (scripts/simnl/sensitivity.sh)
noise        accuracy over label noise (scripts/noise.sh)
cost         accuracy over seconds and learned parameters
audit        each method under every protocol (tools/audit.py)
tradeoff     accuracy against AUROC of unknown classes, a point per method (scripts/ood.sh); --score names the score
confusion    the confusion matrix of one run
features     a map of one run's test features, with positive and negative prototypes
reliability  accuracy over confidence of one run, before and after its temperature
roc, scores  known against unknown classes, of one run (scripts/<method>/ood.sh); --score names the score

At most eight curves are drawn in a panel, those of SimNL, zero-shot CLIP and the best others, unless --all or --methods
asks for more. Runs of different backbones, presets, protocols or noise never share a figure: each setting gets a file
of its own, numbered from the second on.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.errors import fail_politely
from simnl.escaping import printable
from simnl.numbers import argument
from simnl.results.plots.names import CURVES, FORMATS, OF_RECORDS, OF_RUNS, check_format
from simnl.results.stats import CI_HELP, CI_METHODS

if TYPE_CHECKING:
    from simnl.results.plots.series import Kind, RunKind


def build_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = parser_of(__doc__)
    parser.add_argument("kind", choices=(*OF_RECORDS, *OF_RUNS))
    parser.add_argument("paths", nargs="+", help="run folders, or folders above them")
    parser.add_argument("--output", help=f"the file to write, .{', .'.join(FORMATS)} (default: KIND.png)")
    parser.add_argument("--methods", nargs="+", default=[], help="show only these, e.g. SimNL TipAdapterF")
    parser.add_argument("--datasets", nargs="+", default=[], help="show only these, e.g. dtd eurosat")
    parser.add_argument("--shots", nargs="+", default=[], type=int, help="show only these, e.g. 1 16")
    parser.add_argument("--ci", choices=CI_METHODS, default="t", help=CI_HELP)
    parser.add_argument("--no-title", action="store_true", help="draw no title, for a figure in a paper")
    parser.add_argument("--published", action="store_true", help="for fewshot: also draw published curves, dotted")
    parser.add_argument("--all", action="store_true", help=f"draw all curves, not only the best {CURVES}")
    parser.add_argument(
        "--projection", choices=("pca", "tsne"), default="tsne", help="for features: the map (default: tsne)"
    )
    parser.add_argument("--score", default="", help="for roc, scores, tradeoff: the score, e.g. energy")
    parser.add_argument("--classes", type=argument(), default=0, help="for confusion, features: the most classes")
    return parser


def kind_of(name: str) -> Kind | RunKind:
    """What draws the figures of a name; those of one run import PyTorch."""
    if name in OF_RECORDS:
        from simnl.results.plots.of_records import RECORD_KINDS

        return RECORD_KINDS[name]
    from simnl.results.plots.of_runs import RUN_KINDS

    return RUN_KINDS[name]


@fail_politely
def main() -> int:
    """Entry point."""
    args = build_parser().parse_args()
    output = Path(args.output or f"{args.kind}.png")
    check_format(output)

    from simnl.results.plots.drawing import save, without_title
    from simnl.results.plots.series import Wanted
    from simnl.results.tables import find_records, select

    logging.basicConfig(level=logging.WARNING, format="Note: %(message)s")
    curves = 0 if args.all or args.methods else CURVES
    wanted = Wanted(args.ci, curves, args.published, args.score, args.classes, args.projection)
    asked = {"method": args.methods, "dataset": args.datasets, "shots": args.shots}
    figures = kind_of(args.kind)(select(find_records(args.paths), asked, {}), wanted)
    for number, (title, figure) in enumerate(figures.items(), 1):
        path = output if number == 1 else output.with_name(f"{output.stem}-{number}{output.suffix}")
        if args.no_title:
            without_title(figure)
        print(printable(f"{save(figure, path)}: {', '.join(title.splitlines())}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
