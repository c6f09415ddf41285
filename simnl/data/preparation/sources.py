"""The classes in which `catalogue` describes the pieces of data sets and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = ".downloads"  # folder for downloads below the data root


@dataclass(frozen=True)
class Remote:
    """A file to download, with addresses in the order in which they are tried, and a Google Drive id.

    `md5` is checked before the file is used; it is "" if none was published. `size` is in bytes, or 0 if unknown.
    `inner` is the name of an archive inside this one that holds the data.
    """

    name: str
    urls: tuple[str, ...] = ()
    drive: str = ""
    md5: str = ""
    size: int = 0
    inner: str = ""

    @property
    def address(self) -> str:
        """The first address, for messages; "" if there is none."""
        if self.urls:
            return self.urls[0]
        return f"https://drive.google.com/uc?id={self.drive}" if self.drive else ""


@dataclass(frozen=True)
class Piece:
    """A folder or file of a data set's layout.

    Attributes:
        target: the path below the data set's folder.
        remote: the download that has the piece; None if there is no download.
        member: the path in the unpacked archive; "" if the download is the file itself.
        elsewhere: other places below the data root where people have the piece, which is linked from there.
        generated: True if this program writes the piece (`classnames.txt`).
        above: True if the piece lies below the data root itself instead of the data set's folder (CuPL sentences).
    """

    target: str
    remote: Remote | None = None
    member: str = ""
    elsewhere: tuple[str, ...] = ()
    generated: bool = False
    above: bool = False


@dataclass(frozen=True)
class Source:
    """A data set: its folder below the data root, its pieces, and what a person must do if there is no download."""

    name: str
    folder: str
    pieces: tuple[Piece, ...]
    by_hand: str = ""

    def path(self, root: Path, piece: Piece) -> Path:
        """The place of a piece below the data root."""
        return root / piece.target if piece.above else root / self.folder / piece.target

    def piece(self, target: str) -> Piece | None:
        """The piece at `target`, if there is one."""
        return next((piece for piece in self.pieces if piece.target == target), None)
