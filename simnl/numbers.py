"""Whole numbers that people type on command lines and in environment variables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from simnl.escaping import shortened

MOST = 2**32 - 1  # what NumPy takes for a seed; nothing else comes near
WHOLE = re.compile(r"-?[0-9]{1,10}")  # the digits of ASCII alone: int() takes those of all scripts, and `1_0`


def whole_number(text: str, least: int = 0, most: int = MOST, name: str = "") -> int:
    """The number that a text is.

    Args:
        least, most: bounds, both allowed.
        name: the name of the number, with which the message starts.

    Raises:
        ValueError: anything else than digits (and a minus sign), or a number out of bounds.
    """
    text = str(text).strip()
    number = int(text) if WHOLE.fullmatch(text) else None
    if number is None or not least <= number <= most:
        bounds = f"from {least}" if most == MOST else f"from {least} to {most}"
        words = f"{name} is '{shortened(text)}'. Give a" if name else f"'{shortened(text)}' is no"
        raise ValueError(f"{words} whole number {bounds}.")
    return number


def argument(least: int = 0, most: int = MOST) -> Callable[[str], int]:
    """`whole_number` as a `type` of argparse, which prefixes the flag and adds the usage."""

    def parse(text: str) -> int:
        try:
            return whole_number(text, least, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None

    return parse


def seeds_from(text: str) -> list[int]:
    """`1 2 3` or `1,2,3` to numbers.

    Raises:
        ValueError: none, one that is no number from 0, or one twice.
    """
    hint = "Give whole numbers from 0, each once, e.g. SEEDS='1 2 3'."
    try:
        seeds = [whole_number(word) for word in text.replace(",", " ").split()]
    except ValueError:
        seeds = []
    if not seeds:
        raise ValueError(f"SEEDS is '{shortened(text)}'. {hint}")
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise ValueError(f"SEEDS is '{shortened(text)}', with {twice} more than once. {hint}")
    return seeds
