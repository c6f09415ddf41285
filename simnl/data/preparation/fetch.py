"""Download files: continue interrupted downloads, try several addresses, and check a file before it is used."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import sys
import time
import urllib.error
import zipfile
from pathlib import Path

from torchvision.datasets.utils import calculate_md5

from simnl.sealed import read_json

from .sizes import DiskError, is_tar
from .sources import Remote
from .transfer import continue_download

log = logging.getLogger(__name__)

ATTEMPTS = 5  # attempts at one address without progress, before the next one is tried
GROWTH = 10_000  # fewer bytes do not count as progress, because a server may stop after every byte
PAUSE = 2.0  # seconds between attempts, times their number
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class FetchError(RuntimeError):
    """No address gave the file. The message lists the addresses with their errors."""


def is_archive(name: str) -> bool:
    """Whether the file name is that of an archive."""
    return name.endswith(ARCHIVES)


def fetch(remote: Remote, folder: Path) -> Path:
    """The complete and correct file in `folder`, which is downloaded if it is missing.

    An unfinished download has the name `<name>...part` and is continued. A file with a wrong checksum is removed.
    Answers of servers are bounded, see `transfer`.

    Raises:
        FetchError: the message has every address and what went wrong there.
    """
    path = folder / remote.name
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        problem = what_is_wrong(path, remote)
        if not problem:
            return path
        if not remote.address:
            raise FetchError(f"{path} is not used: {problem}.")  # the user's own copy is not deleted
        log.warning("%s is not used: %s.", path, problem)
        path.unlink()
    problems = []
    for url in remote.urls:
        part = _part(path, url, remote)
        problem = _from_url(url, part, remote)
        if not problem:
            os.replace(part, path)
            return path
        log.warning("%s: %s.", url, problem)
        problems.append(f"  {url}: {problem}")
    if remote.drive:
        problem = _from_drive(remote, path)
        if not problem:
            return path
        problems.append(f"  {Remote(remote.name, drive=remote.drive).address}: {problem}")
    tried = "\n".join(problems) or "  no address is known"
    raise FetchError(f"{remote.name} could not be downloaded:\n{tried}")


def what_is_wrong(path: Path, remote: Remote) -> str:
    """Why a complete download cannot be the right file; "" if no problem was found."""
    size = path.stat().st_size
    if remote.md5:
        md5 = calculate_md5(path)
        return "" if md5 == remote.md5 else f"its md5 is {md5}, not {remote.md5} ({size} bytes)"
    if remote.size and size != remote.size:
        return f"it has {size} bytes, not {remote.size}"
    if is_archive(remote.name) and not (zipfile.is_zipfile(path) or is_tar(path)):
        return f"it is not an archive ({size} bytes; perhaps a web page)"
    if remote.name.endswith(".json"):
        try:
            read_json(path)
        except ValueError:
            return f"it is not json ({size} bytes; perhaps a web page)"
    with open(path, "rb") as file:
        if file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return f"it is a web page ({size} bytes)"
    return "" if size else "it is empty"


def _part(path: Path, url: str, remote: Remote) -> Path:
    """The unfinished file. Without a checksum, parts from two addresses must not be joined."""
    tag = "" if remote.md5 else f".{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    return path.with_name(f"{path.name}{tag}.part")


def _from_url(url: str, part: Path, remote: Remote) -> str:
    """Fill `part` from `url`; returns the problem, or "" if there is none."""
    for _ in range(2):  # a second time from the start, if the continued file is wrong
        resumed = part.exists()
        problem = _complete(url, part, remote)
        if problem:
            return problem
        problem = what_is_wrong(part, remote)
        if not problem:
            return ""
        part.unlink()
        if not resumed:
            return problem
    return problem


def _complete(url: str, part: Path, remote: Remote) -> str:
    attempts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if continue_download(url, part, remote):
                return ""
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {one_line(error.reason)}"
            if error.code < 500 and error.code != 429:
                return problem
        except DiskError:
            raise
        except (http.client.HTTPException, OSError) as error:
            problem = one_line(getattr(error, "reason", None) or error)
        except ValueError as error:  # a BadAnswer, or an address that is none
            return one_line(error)
        grown = part.exists() and part.stat().st_size - before >= GROWTH
        attempts = 1 if grown else attempts + 1
        if attempts >= ATTEMPTS:
            return problem
        log.info("%s: %s; trying again.", url, problem)
        time.sleep(PAUSE * attempts)


def one_line(error: object) -> str:
    """The text of an error, which servers may have written, as one line of printable characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in words)[:300]


def _from_drive(remote: Remote, path: Path) -> str:
    """The file from Google Drive; returns the problem. gdown keeps and continues its own unfinished file."""
    try:
        import gdown  # only these files need it
    except ImportError:
        return "Google Drive needs the package gdown: `pip install gdown`"
    whole = path.with_name(f"{path.name}.drive")
    try:
        got = gdown.download(id=remote.drive, output=str(whole), quiet=not sys.stderr.isatty(), resume=True)
    except Exception as error:  # its own error types differ from version to version
        return one_line(str(error).strip().splitlines()[0] if str(error).strip() else error)
    if not got or not whole.is_file():
        return "Google Drive did not give the file, perhaps after too many downloads today. Try later, or in a browser"
    problem = what_is_wrong(whole, remote)
    if problem:
        whole.unlink()
        return problem
    os.replace(whole, path)
    return ""
