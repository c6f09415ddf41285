"""Unpack archives from elsewhere without writing outside the target folder."""

from __future__ import annotations

import os
import os.path as osp
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable

__all__ = ["extract_archive", "is_archive"]

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: str) -> bool:
    """True if the file's name ends like an archive that `extract_archive` reads."""
    return path.endswith(ENDINGS)


class _Refused(ValueError):
    """An archive that is not unpacked; the message names it."""


def extract_archive(path: str, folder: str) -> None:
    """Extract a zip or tar archive into a folder: all of it or nothing.

    Raises:
        ValueError: not such an archive, a damaged one, or a member would land outside `folder` (by `..`, an absolute
            path or a link).
        OSError: the archive cannot be read, or the folder not be written.
    """
    if not is_archive(path):
        raise ValueError(f"{path} is no archive: its name must end with one of {', '.join(ENDINGS)}")
    os.makedirs(folder, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".unpacking-", dir=folder)
    try:
        _extract(path, temporary)
        shutil.copytree(temporary, folder, symlinks=True, dirs_exist_ok=True, copy_function=os.replace)
    except (_Refused, PermissionError, FileNotFoundError):
        raise
    except Exception as error:  # the libraries raise some twenty kinds, by what the damage hits
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, f"{path} could not be unpacked: {error.strerror}", folder) from error
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged, or no archive that can be read here ({what}): get it anew") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(path: str, folder: str) -> None:
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            _check_names(path, archive.namelist(), folder)
            archive.extractall(folder)
        return
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        _check_names(path, [member.name for member in members], folder)
        _extract_tar(archive, members, path, folder)


def _check_names(path: str, names: Iterable[str], folder: str) -> None:
    root = osp.realpath(folder)
    for name in names:
        if not name.strip():
            raise _Refused(f"{path}: refused, it has a member without a name")
        target = osp.realpath(osp.join(root, name))
        if target != root and not target.startswith(osp.join(root, "")):
            raise _Refused(f"{path}: refused, member '{name}' would be written outside {folder}")


def _extract_tar(archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: str, folder: str) -> None:
    # The standard library's "data" filter follows links member by member. Early patch releases of 3.10 and
    # 3.11 lack it: there, archives with links or special files are refused.
    if hasattr(tarfile, "data_filter"):
        try:
            archive.extractall(folder, members, filter="data")
        except tarfile.FilterError as error:
            raise _Refused(f"{path}: refused, {error}") from error
        return
    for member in members:
        if not (member.isfile() or member.isdir()):
            raise _Refused(f"{path}: refused, member '{member.name}' is a link or a special file")
    archive.extractall(folder, members)
