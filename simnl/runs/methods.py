"""The method that a word on the command line means: by its registered name, or by that of its folder in scripts/."""

from __future__ import annotations

import re

from simnl.config_names import check_name, known
from simnl.locations import ROOT

SHORT = {"zeroshot": "ZeroshotCLIP"}  # folders whose name is not the method's in small letters


def method_of(word: str) -> str:
    """The registered name that a word stands for, in any case, with or without underscores: `tip_adapter_f`.

    Raises:
        ValueError: no method is meant; with the nearest name and all that are valid.
    """
    by_letters = {letters(name): name for name in known("trainers")}
    return by_letters.get(letters(SHORT.get(letters(word), word))) or check_name("trainers", word)


def letters(name: str) -> str:
    """Small letters and digits of a name: what its spellings have in common."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def script_of(method: str, script: str = "main.sh") -> str:
    """What starts a method: the script in its folder, or scripts/run.sh and its name where it has none."""
    for folder in sorted(path.parent for path in ROOT.glob(f"scripts/*/{script}")):
        if letters(SHORT.get(folder.name, folder.name)) == letters(method):
            return f"scripts/{folder.name}/{script}"
    return f"scripts/run.sh {method}"
