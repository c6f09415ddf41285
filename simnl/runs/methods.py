"""Find the method that a word on the command line means: its registered name, or the name of its folder in scripts/."""

from __future__ import annotations

import re

from simnl.config_names import check_name, known
from simnl.locations import ROOT

SHORT = {"zeroshot": "ZeroshotCLIP"}  # folders that are not named like the method


def method_of(word: str) -> str:
    """The registered name of a method, given in any case and with or without underscores: `tip_adapter_f`.

    Raises:
        ValueError: there is no such method. The message has the nearest name and all valid names.
    """
    by_letters = {letters(name): name for name in known("trainers")}
    return by_letters.get(letters(SHORT.get(letters(word), word))) or check_name("trainers", word)


def letters(name: str) -> str:
    """The small letters and digits of a name, which all its spellings have in common."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def script_of(method: str, script: str = "main.sh") -> str:
    """The script that starts a method: the one in its folder, or scripts/run.sh with its name if it has no folder."""
    for folder in sorted(path.parent for path in ROOT.glob(f"scripts/*/{script}")):
        if letters(SHORT.get(folder.name, folder.name)) == letters(method):
            return f"scripts/{folder.name}/{script}"
    return f"scripts/run.sh {method}"
