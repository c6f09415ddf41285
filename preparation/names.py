"""Which data sets a command means."""

from __future__ import annotations

from collections.abc import Sequence

from experiment.cli import check_name

from .catalogue import SOURCES


def chosen(names: Sequence[str], everything: bool) -> list[str]:
    """The names, each once; with `everything`, all fifteen.

    Raises:
        ValueError: none is given, one is unknown (with the nearest), or it needs no preparation.
    """
    if everything:
        return list(SOURCES)
    if not names:
        raise ValueError(f"Name at least one data set, or give --all. Valid: {', '.join(SOURCES)}.")
    for name in names:
        check_name("datasets", name)
        if name == "imagefolder":
            raise ValueError("imagefolder is a folder of your own images: there is nothing to get or to compare with.")
        if name not in SOURCES:
            raise ValueError(f"{name} is rendered by this program on first use: there is nothing to get.")
    return list(dict.fromkeys(names))
