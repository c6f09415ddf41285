"""What a data set consists of on disk, and where each piece comes from: the vocabulary of `catalogue`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = ".downloads"  # folder below the data root for what is being fetched


@dataclass(frozen=True)
class Remote:
    """A file to download: addresses in the order they are tried, then a Google Drive id.

    `md5` is checked before the file is used; "" where none was published. `size` in bytes, 0 where unknown. `inner` is
    the name of an archive inside this one, which holds the data.
    """

    name: str
    urls: tuple[str, ...] = ()
    drive: str = ""
    md5: str = ""
    size: int = 0
    inner: str = ""

    @property
    def address(self) -> str:
        """The first address at which it is looked for, for people; "" where there is none."""
        if self.urls:
            return self.urls[0]
        return f"https://drive.google.com/uc?id={self.drive}" if self.drive else ""


@dataclass(frozen=True)
class Piece:
    """A folder or file of a data set's layout.

    Attributes:
        target: path below the data set's folder.
        remote: the download it comes from; None where there is none to be had.
        member: path in the unpacked archive; "" where the download is the file itself.
        elsewhere: other places below the data root where people have it; it is linked from there.
        generated: it is written by this program (`classnames.txt`), not fetched.
        above: it lies below the data root itself, not in the data set's folder (CuPL sentences).
    """

    target: str
    remote: Remote | None = None
    member: str = ""
    elsewhere: tuple[str, ...] = ()
    generated: bool = False
    above: bool = False


@dataclass(frozen=True)
class Source:
    """A data set: its folder below the data root, its pieces, and what a person must do where there is no download."""

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
