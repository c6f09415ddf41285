"""What the command-line tools share: valid names, KEY VALUE pairs, and errors made for people."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from yacs.config import CfgNode as CN

from simnl.commands import as_typed
from simnl.locations import CONFIGS
from simnl.runs.config import base_config

log = logging.getLogger(__name__)

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")

# What a user can cause, and mend: shown as a message. Anything else is a defect and shows its traceback.
USER_ERRORS = (ValueError, KeyError, OSError, RuntimeError, FloatingPointError)


def known(kind: str) -> list[str]:
    """Names of the configs of a kind: `trainers`, `datasets` or `backbones`."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def check_name(kind: str, name: str) -> str:
    """The name, if it is a config of the kind.

    Raises:
        ValueError: with the list of what is valid, and the nearest name.
    """
    names = known(kind)
    if name in names:
        return name
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f" Did you mean {by_lower[near[0]]}?" if near else ""
    raise ValueError(f"Unknown {kind[:-1].replace('dataset', 'data set')} '{name}'.{hint} Valid: {', '.join(names)}.")


def seeds_from(text: str) -> list[int]:
    """`1 2 3` or `1,2,3` to numbers.

    Raises:
        ValueError: none, or one that is no number from 0.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdigit() for word in words):
        raise ValueError(f"SEEDS is '{text}'. Give whole numbers from 0, e.g. SEEDS='1 2 3'.")
    return [int(word) for word in words]


# What looks like a config key on the command line, and how the scripts are told it.
VARIABLES = ("DATA", "CACHE", "BACKBONE", "WEIGHTS", "OUTPUT", "SEEDS", "TARGETS", "DEVICE", "DEBUG")
ELSEWHERE = {name: f"the environment variable {name}" for name in VARIABLES} | {
    "SEED": "the environment variable SEEDS",
    "OUTPUT_DIR": "the environment variable OUTPUT",
    "USE_CUDA": "the environment variable DEVICE",
    "DATASET.NUM_SHOTS": "SHOTS, behind the data set (or --shots)",
    "TRAINER.NAME": "the script's name (or --methods)",
}


def is_key(word: str) -> bool:
    """True for what stands for a config key: capitals with a dot, a key without one, or a name in `ELSEWHERE`."""
    if not KEY.fullmatch(word):
        return False
    return "." in word or word in ELSEWHERE or word in top_level_keys()


@functools.cache
def top_level_keys() -> frozenset[str]:
    """The config keys without a dot, such as PRESET, SWEEP and MATMUL."""
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


def fail_politely(main: Callable[[], int]) -> Callable[[], int]:
    """Turn a user's error into a message and exit code 1; DEBUG=1 in the environment shows the traceback too."""

    @functools.wraps(main)
    def wrapped() -> int:
        try:
            return main()
        except BrokenPipeError:  # the reader of a pipe has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            print("\nStopped. Run the same command again to continue.", file=sys.stderr)
            return 130
        except USER_ERRORS as error:
            if os.environ.get("DEBUG"):
                traceback.print_exc()
            print(f"\nError: {describe(error)}", file=sys.stderr)
            return 1

    return wrapped


def describe(error: BaseException) -> str:
    """The message of an error, without the quotes that KeyError adds, and with commands that work here."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        return as_typed(str(error.args[0]))
    if isinstance(error, FloatingPointError):
        return f"{error} Training diverged: lower OPTIM.LR, or raise OPTIM.EPS."
    return as_typed(str(error)) or type(error).__name__
