"""The folder of a run.

The folder is checked before the run starts, held by one process at a time, and cleared of what killed processes left.
The lock belongs to the operating system, which releases it when the process that holds it ends.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from simnl.errors import DISK_FULL
from simnl.files import remove_left_overs
from simnl.runs.record import FILE as RECORD
from simnl.waiting import holding

log = logging.getLogger(__name__)

LOCK = ".lock"
IDENTITY = "run.json"
CONFIG = "config.yaml"
# What a run writes in its folder.
FOLDERS = ("head", "tensorboard", "sweep", "held-shot")
FILES = (
    LOCK, RECORD, IDENTITY, CONFIG, "log.txt", "head.safetensors", "selection.json", "sweep.json", "head/checkpoint",
    "logits.safetensors", "outliers.safetensors", "detection.json", "flips.json", "held_shot.json", "division.json",
)  # fmt: skip
MANY = ("best-epoch*.safetensors", "head/model*.pth.tar*")  # patterns of files with numbers
# Temporary files may lie here, besides in the folder itself.
SWEPT = ("head", "sweep/*", "sweep/*/head", "held-shot", "held-shot/head")
A_FILE, A_FOLDER = "a file", "a folder"
ADVICE = "choose another folder for the output (--output-dir, or OUTPUT for the scripts)"


@contextlib.contextmanager
def claimed(folder: str | Path, wait: bool) -> Iterator[bool]:
    """Hold a run's folder, which is made if it is missing. Yields False if another process holds it and `wait` is
    False.

    While the folder is held nobody else writes there, so temporary files in it are those of killed processes, and are
    removed.

    Raises:
        OSError: the folder cannot be used for a run; see `check_folder`.
    """
    folder = Path(folder)
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file system that takes no folders, whatever its permissions say
        if error.errno in DISK_FULL:
            raise
        raise OSError(f"The run's folder {folder} cannot be made ({error.strerror}): {ADVICE}.") from error
    with holding(folder / LOCK, f"carries out the run in {folder}", wait) as mine:
        if mine:
            sweep_folder(folder)
        yield mine


def sweep_folder(folder: Path) -> None:
    """Remove temporary files of killed processes from a run's folder. The caller holds its lock."""
    places = [folder, *(place for pattern in SWEPT for place in folder.glob(pattern))]
    removed = [path for place in places for path in remove_left_overs(place)]
    if removed:
        log.info("Removed %d temporary files that a killed process left in %s.", len(removed), folder)


def check_folder(folder: str | Path) -> None:
    """Check, before a run starts, that all its files can be written.

    Raises:
        OSError: something else lies in the place of the folder or of a file or folder in it, or nothing may be written
            there. The message says what to do.
    """
    folder = Path(folder)
    _check_way(folder)
    for name in FOLDERS:
        _check_kind(folder / name, A_FOLDER, os.W_OK | os.X_OK)
    for path in (*(folder / name for name in FILES), *(path for pattern in MANY for path in folder.glob(pattern))):
        _check_kind(path, A_FILE, os.R_OK)


def _check_kind(path: Path, expected: str, access: int) -> None:
    kind = kind_of(path)
    if kind and kind != expected:
        raise OSError(f"{path} is {kind}, but the run writes {expected} there. Move it away and run again.")
    if kind and not os.access(path, access):
        verb = "read" if expected == A_FILE else "written"
        raise PermissionError(f"{path} may not be {verb}. Change its permissions and run again.")


def _check_way(folder: Path) -> None:
    """Check that the folder, or the nearest existing one above it, is a folder that may be written."""
    for above in (folder, *folder.absolute().parents):
        kind = kind_of(above)
        if kind and kind != A_FOLDER:
            raise NotADirectoryError(
                f"{above} is {kind}, so the run's folder {folder} cannot be made. Move it away, or {ADVICE}."
            )
        if kind and not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(f"{above} may not be written. Change its permissions, or {ADVICE}.")
        if kind:
            return


def kind_of(path: Path) -> str:
    """What lies at a path, in words (`a file`, `a folder`, ...); empty if there is nothing."""
    try:
        mode = os.stat(path).st_mode
    except NotADirectoryError:
        return ""
    except FileNotFoundError:
        return "a link that leads nowhere" if path.is_symlink() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads to itself" if os.path.islink(path) else ""  # otherwise a link above it does
        raise
    if stat.S_ISDIR(mode):
        return A_FOLDER
    return A_FILE if stat.S_ISREG(mode) else "not a regular file"
