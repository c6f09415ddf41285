"""The engine's datums of images. The runs of one process share those of which no file came or went since."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dassl.data.datasets import Datum
from simnl import sharing
from simnl.files import version_of

NBYTES = 500  # that a datum needs in memory


def datums(
    root: str, chosen: Sequence[tuple[str, int]], names: Sequence[str], check: Callable[[list[str]], None] | None
) -> list[Datum]:
    """The datums of images, in order.

    Args:
        root: the folder of the images.
        chosen: the path of each image below it (forward slashes), and its label.
        names: class name by label.
        check: is given the paths before they are used; None where it is known already that they are there.
    """
    kept = sharing.current()
    key = _key(root, chosen, names) if kept is not None else None
    if kept is not None and key is not None and (found := kept.get(key)) is not None:
        return list(found)
    if check is not None:
        check([path for path, _ in chosen])
    made = [Datum(impath=os.path.join(root, path), label=label, classname=names[label]) for path, label in chosen]
    if kept is not None and key is not None:
        kept.put(key, tuple(made), NBYTES * len(made))
    return made


def _key(root: str, chosen: Sequence[tuple[str, int]], names: Sequence[str]) -> tuple | None:
    """Which datums they are. A folder's time changes with the files in it; None where a folder is missing."""
    folders = sorted({path.rpartition("/")[0] for path, _ in chosen})
    try:
        times = tuple(version_of(os.path.join(root, folder)) for folder in folders)
    except OSError:
        return None
    return "datums", root, tuple(chosen), tuple(names), times
