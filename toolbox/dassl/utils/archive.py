"""Unpack archives from elsewhere without writing outside the target folder."""

from __future__ import annotations

import os.path as osp
import tarfile
import zipfile
from collections.abc import Iterable

__all__ = ["extract_archive", "is_archive"]

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: str) -> bool:
    """True if the file's name ends like an archive that `extract_archive` reads."""
    return path.endswith(ENDINGS)


def extract_archive(path: str, folder: str) -> None:
    """Extract a zip or tar archive into a folder.

    Raises:
        ValueError: not such an archive, or a member would land outside `folder` (by `..`, an absolute path
            or a link); names are checked first, before anything is written.
    """
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            _check_names(path, archive.namelist(), folder)
            archive.extractall(folder)
    elif is_archive(path):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            _check_names(path, [member.name for member in members], folder)
            _extract_tar(archive, members, path, folder)
    else:
        raise ValueError(f"{path} is no archive: its name must end with one of {', '.join(ENDINGS)}")


def _check_names(path: str, names: Iterable[str], folder: str) -> None:
    root = osp.realpath(folder)
    for name in names:
        target = osp.realpath(osp.join(root, name))
        if target != root and not target.startswith(osp.join(root, "")):
            raise ValueError(f"{path}: refused, member '{name}' would be written outside {folder}")


def _extract_tar(archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: str, folder: str) -> None:
    # The standard library's "data" filter follows links member by member. Early patch releases of 3.10 and
    # 3.11 lack it: there, archives with links or special files are refused.
    if hasattr(tarfile, "data_filter"):
        try:
            archive.extractall(folder, members, filter="data")
        except tarfile.FilterError as error:
            raise ValueError(f"{path}: refused, {error}") from error
        return
    for member in members:
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"{path}: refused, member '{member.name}' is a link or a special file")
    archive.extractall(folder, members)
