"""Train, resume or evaluate one run, with Dassl's command line.

    python tools/train.py --root DATA --seed 1 --trainer SimNL \\
        --config-file configs/trainers/SimNL.yaml --dataset-config-file configs/datasets/dtd.yaml \\
        --output-dir output/try DATASET.NUM_SHOTS 16

scripts/<method>/main.sh is a shorter way to do the same, for three seeds and with a table at the end.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.config_names import config_file, known
from simnl.errors import fail_politely
from simnl.numbers import argument

TINY = config_file("backbones", "tiny")


def build_parser() -> argparse.ArgumentParser:
    """Dassl's options, and --backbone-config-file."""
    parser = parser_of(__doc__)
    parser.add_argument("--root", default="", help="the data root, which holds the data sets' folders")
    parser.add_argument("--output-dir", default="", help="the run's folder (default: ./output)")
    parser.add_argument("--resume", default="", help="continue from the checkpoints in this folder")
    parser.add_argument("--seed", type=argument(-1), default=1, help="the seed of the draw, initial values and order")
    parser.add_argument("--trainer", default="", help=f"one of: {', '.join(known('trainers'))}")
    parser.add_argument("--config-file", default="", help="method yaml (default: configs/trainers/<trainer>.yaml)")
    parser.add_argument("--dataset-config-file", required=True, help="data set yaml, see configs/datasets")
    parser.add_argument(
        "--backbone-config-file",
        default="",
        help="backbone yaml (default: tiny, with a warning on other data than shapes)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--eval-only", action="store_true", help="evaluate the head in --model-dir")
    parser.add_argument("--model-dir", default="", help="the folder of a finished run, for --eval-only")
    parser.add_argument(
        "--load-epoch", type=argument(), default=0, help="for --eval-only: take the checkpoint of this epoch"
    )
    parser.add_argument("--no-train", action="store_true", help="build everything and encode features, then stop")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the config")
    return parser


def config_from(args: argparse.Namespace):
    """The run's config."""
    from simnl.runs.backbones import check_early
    from simnl.runs.config import assemble
    from simnl.runs.devices import pick_device

    if not args.trainer and not args.config_file:
        raise ValueError(f"Name a method with --trainer: {', '.join(known('trainers'))}.")
    method = args.config_file or config_file("trainers", args.trainer)
    settings = {
        "TRAINER.NAME": args.trainer or Path(method).stem,
        "DATASET.CONFIG": Path(args.dataset_config_file).stem,
        "SEED": args.seed,
        "USE_CUDA": pick_device(args.device),
    }
    for key, value in (("DATASET.ROOT", args.root), ("OUTPUT_DIR", args.output_dir), ("RESUME", args.resume)):
        if value:
            settings[key] = value
    backbone = args.backbone_config_file or TINY
    cfg = assemble([backbone, args.dataset_config_file, method], args.opts, settings)
    check_early(cfg)
    return cfg


def check_backbone(args: argparse.Namespace, cfg) -> None:
    """Warn where the tiny CLIP, which is the default here, meets data that it knows nothing of."""
    from simnl.clip.model import TINY as TINY_ARCH
    from simnl.runs.backbones import is_for_tiny, warn_of_tiny

    if args.backbone_config_file or cfg.MODEL.BACKBONE.ARCH != TINY_ARCH or is_for_tiny(cfg.DATASET.NAME):
        return
    warn_of_tiny(
        f"No --backbone-config-file is given, and {cfg.DATASET.NAME} does not show what the tiny CLIP knows.",
        "The paper's ResNet-50: --backbone-config-file configs/backbones/rn50.yaml. To use the tiny CLIP without this "
        "warning: --backbone-config-file configs/backbones/tiny.yaml.",
    )


@fail_politely
def main() -> int:
    """Entry point."""
    args = build_parser().parse_args()

    from simnl.runs.folder import check_folder, claimed
    from simnl.runs.logs import configure_logging, run_log
    from simnl.runs.run import run_one

    configure_logging()
    cfg = config_from(args)
    is_run = not (args.eval_only or args.no_train)  # the others leave the folder as it is, but for a log
    check_folder(cfg.OUTPUT_DIR)
    with claimed(cfg.OUTPUT_DIR, wait=True) if is_run else nullcontext(), run_log(cfg.OUTPUT_DIR, quiet=False):
        check_backbone(args, cfg)
        run_one(
            cfg, eval_only=args.eval_only, model_dir=args.model_dir, load_epoch=args.load_epoch, train=not args.no_train
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
