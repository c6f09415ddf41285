"""Whole numbers that people type on command lines and in environment variables, and read again."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from simnl.escaping import shortened

MOST = 2**32 - 1  # what NumPy takes for a seed; nothing else comes near
WHOLE = re.compile(r"-?[0-9]{1,10}")  # ASCII digits only: int() would take digits of all scripts, and `1_0`


def whole_number(text: str, least: int = 0, most: int = MOST, name: str = "") -> int:
    """Read a whole number from a text.

    Args:
        least, most: the smallest and the largest number that is allowed.
        name: what the number is called; messages start with it.

    Raises:
        ValueError: the text is no whole number in ASCII digits, or the number is out of bounds.
    """
    text = str(text).strip()
    number = int(text) if WHOLE.fullmatch(text) else None
    if number is None or not least <= number <= most:
        bounds = f"from {least}" if most == MOST else f"from {least} to {most}"
        words = f"{name} is '{shortened(text)}'. Give a" if name else f"'{shortened(text)}' is not a"
        raise ValueError(f"{words} whole number {bounds}.")
    return number


def argument(least: int = 0, most: int = MOST) -> Callable[[str], int]:
    """`whole_number` as a `type` of argparse. Argparse puts the flag before the message, and shows the usage."""

    def parse(text: str) -> int:
        try:
            return whole_number(text, least, most)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None

    return parse


def seeds_from(text: str) -> list[int]:
    """Read the seeds `1 2 3` or `1,2,3`.

    Raises:
        ValueError: there is no seed, a seed is not a whole number from 0, or a seed is there twice.
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


def shots_in_words(shots: int) -> str:
    """`1 shot`, `2 shots`."""
    return f"{shots} shot" if shots == 1 else f"{shots} shots"
