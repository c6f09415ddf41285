"""What the command-line tools share: valid names, the device, and errors made for people."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable

from experiment.config import CONFIGS

log = logging.getLogger(__name__)

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


def pick_device(device: str) -> bool:
    """True to use CUDA. `auto` takes a GPU where there is one; `cuda:N` makes only that GPU visible.

    Raises:
        ValueError: an unknown word; RuntimeError: CUDA asked for and not there.
    """
    name, _, number = device.partition(":")
    if name not in ("auto", "cpu", "cuda") or (number and (name != "cuda" or not number.isdigit())):
        raise ValueError(f"Unknown device '{device}'. Use auto, cpu, cuda or cuda:N.")
    if number:
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    if name == "cpu":
        return False
    import torch  # after CUDA_VISIBLE_DEVICES is set

    if torch.cuda.is_available():
        return True
    if name == "cuda":
        raise RuntimeError(f"DEVICE is '{device}', but PyTorch {torch.__version__} sees no GPU. Use DEVICE=cpu.")
    return False


def fail_politely(main: Callable[[], int]) -> Callable[[], int]:
    """Turn a user's error into a message and exit code 1; DEBUG=1 in the environment shows the traceback too."""

    @functools.wraps(main)
    def wrapped() -> int:
        try:
            return main()
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
    """The message of an error, without the quotes that KeyError adds."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        return str(error.args[0])
    if isinstance(error, FloatingPointError):
        return f"{error} Training diverged: lower OPTIM.LR, or raise OPTIM.EPS."
    return str(error) or type(error).__name__
