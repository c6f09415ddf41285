"""KEY VALUE pairs of the command line: which words are config keys, and which keys the scripts refuse."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")

# Keys that the scripts do not take as KEY VALUE, and how the scripts take their values instead.
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
    """True for a word that is a config key: capitals with a dot, a top-level key, or a name in `ELSEWHERE`."""
    if not KEY.fullmatch(word):
        return False
    return "." in word or word in ELSEWHERE or word in top_level_keys()


@functools.cache
def top_level_keys() -> frozenset[str]:
    """The config keys without a dot, such as PRESET, SWEEP and MATMUL."""
    from yacs.config import CfgNode as CN

    from simnl.runs.config import base_config  # imported late: it imports every method, which `--help` does not need

    return frozenset(key for key, value in base_config().items() if not isinstance(value, CN))


def check_pairs(options: Sequence[str]) -> None:
    """Refuse KEY VALUE pairs that the scripts cannot set.

    Raises:
        ValueError: a key has no value, or is one of `ELSEWHERE`.
    """
    if len(options) % 2:
        raise ValueError(f"command line: the key '{options[-1]}' has no value. Give pairs of KEY VALUE.")
    for key, value in zip(options[::2], options[1::2], strict=True):
        if key in ELSEWHERE:
            raise ValueError(f"'{key} {value}' cannot be given as KEY VALUE. Use {ELSEWHERE[key]}.")
