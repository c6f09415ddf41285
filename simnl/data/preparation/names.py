"""The data sets that the words of a command name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.config_names import check_name, known

from .catalogue import BESIDE_THE_PAPER, SOURCES


def chosen(names: Sequence[str], everything: bool, paper: bool = False) -> list[str]:
    """The names, each once. With `everything` these are all names, and with `paper` the fifteen of the paper's tables.

    Raises:
        ValueError: no name is given, a name is unknown (the message has the nearest one), or needs no preparation.
    """
    if paper:
        return [name for name in SOURCES if name not in BESIDE_THE_PAPER]
    if everything:
        return list(SOURCES)
    if not names:
        raise ValueError(
            f"Name at least one data set, or give --all. Valid: {', '.join(SOURCES)}; sets of "
            f"unknown images: {', '.join(known('outliers'))}."
        )
    outliers = known("outliers")
    for name in names:
        if name in outliers:
            continue
        check_name("datasets", name)
        if name == "imagefolder":
            raise ValueError(
                "imagefolder is a folder of your own images, so there is nothing to download or to compare with. "
                "`python tools/check_data.py --folder FOLDER` checks it."
            )
        if name not in SOURCES:
            raise ValueError(f"{name} needs no download, because this program renders it on first use.")
    return list(dict.fromkeys(names))


def data_root(given: str, names: Sequence[str]) -> Path:
    """The absolute data root, `~` filled in.

    Raises:
        ValueError: it is the folder of one of the data sets `names` instead of the folder above it.
    """
    root = Path(given).expanduser().absolute()
    for name in names:
        source = SOURCES.get(name)
        if source is None:  # sets of outliers have folders of any name
            continue
        if root.name == source.folder and not (root / source.folder).exists():
            inside = [piece.target for piece in source.pieces if not piece.above and (root / piece.target).exists()]
            if inside:
                raise ValueError(
                    f"{root} is the folder of {name} itself (it holds {inside[0]}). Give the folder above it: --root "
                    f"{root.parent}"
                )
    return root
