"""The data sets that a command means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.config_names import check_name

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
            raise ValueError(
                "imagefolder is a folder of your own images: there is nothing to get or to compare with. "
                "`python tools/check_data.py --folder FOLDER` looks through it."
            )
        if name not in SOURCES:
            raise ValueError(f"{name} is rendered by this program on first use: there is nothing to get.")
    return list(dict.fromkeys(names))


def data_root(given: str, names: Sequence[str]) -> Path:
    """The absolute data root, `~` filled in.

    Raises:
        ValueError: it is the folder of one of the data sets `names`, not the one above it.
    """
    root = Path(given).expanduser().absolute()
    for name in names:
        source = SOURCES[name]
        if root.name == source.folder and not (root / source.folder).exists():
            inside = [piece.target for piece in source.pieces if not piece.above and (root / piece.target).exists()]
            if inside:
                raise ValueError(
                    f"{root} is the folder of {name} itself (it holds {inside[0]}). Give the one above it: --root "
                    f"{root.parent}"
                )
    return root
