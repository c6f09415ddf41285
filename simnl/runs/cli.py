"""KEY VALUE pairs of the command line: what stands for a config key, and which ones the scripts refuse."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")

# What looks like a config key on the command line, and how the scripts are told it.
VARIABLES = ("DATA", "CACHE", "BACKBONE", "WEIGHTS", "OUTPUT", "SEEDS", "TARGETS", "DEVICE", "DEBUG")
ELSEWHERE = {name: f"the environment variable {name}" for name in VARIABLES} | {
    "SEED": "the environment variable SEEDS",
    "OUTPUT_DIR": "the environment variable OUTPUT",
    "USE_CUDA": "the environment variable DEVICE",
    "DATASET.NUM_SHOTS": "SHOTS, behind the data set (or --shots)",
    "TRAINER.NAME": "the script's name (or --methods)",
    "SELECTION.HOLD_OUT": "PROTOCOL held-shot",
}


def is_key(word: str) -> bool:
    """True for what stands for a config key: capitals with a dot, a key without one, or a name in `ELSEWHERE`."""
    if not KEY.fullmatch(word):
        return False
    return "." in word or word in ELSEWHERE or word in top_level_keys()


@functools.cache
def top_level_keys() -> frozenset[str]:
    """The config keys without a dot, such as PRESET, SWEEP and MATMUL."""
    from yacs.config import CfgNode as CN

    from simnl.runs.config import base_config  # imports every method, which help and most words do not need

    return frozenset(key for key, value in base_config().items() if not isinstance(value, CN))


def check_pairs(options: Sequence[str]) -> None:
    """Refuse what the scripts' KEY VALUE pairs cannot set.

    Raises:
        ValueError: a key without a value, or one of `ELSEWHERE`.
    """
    if len(options) % 2:
        raise ValueError(f"command line: KEY VALUE pairs are needed, '{options[-1]}' has no value")
    for key, value in zip(options[::2], options[1::2], strict=True):
        if key in ELSEWHERE:
            raise ValueError(f"'{key} {value}': that is given by {ELSEWHERE[key]}, not as KEY VALUE.")
