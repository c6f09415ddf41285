"""Sort images into one folder per label, by links: no image is copied, moved or overwritten."""

from __future__ import annotations

import os
from pathlib import Path

from simnl.escaping import file_name


class Sorter:
    """Links images into `<folder>/<label>/`.

    Names of labels are escaped as file names. Existing links stay. If a name is taken by another file, a number is
    added to the new name.

    Args:
        folder: the folder, which is made if it is missing.

    Raises:
        OSError: something else is in the place of the folder, or it cannot be made.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        _make(self.folder)

    def add(self, path: str, label: str) -> Path:
        """Link an image under its label, and return the link.

        Raises:
            OSError: something else is in the place of the label's folder, or the link cannot be made.
        """
        place = self.folder / file_name(label)
        if place.is_symlink():
            raise OSError(
                f"{place} is a link, but a folder for images belongs there. Move it away, or sort into another folder."
            )
        _make(place)
        target, (stem, ending) = os.path.abspath(path), os.path.splitext(os.path.basename(path))
        number = 1
        while True:
            link = place / (f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}")
            try:
                os.symlink(target, link)
            except FileExistsError:
                if not (link.is_symlink() and os.readlink(link) == target):
                    number += 1
                    continue
            return link


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"{folder} cannot be made: a file is in its place. Sort into another folder.") from error
