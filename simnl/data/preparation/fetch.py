"""Downloads: resumed where they broke off, from several addresses in turn, checked before anybody uses them."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from torchvision.datasets.utils import calculate_md5

from simnl.bars import bar as progress_bar

from .sizes import is_tar, require_space
from .sources import Remote

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds without an answer
ATTEMPTS = 5  # at one address without a single new byte, before the next one
PAUSE = 2.0  # seconds between attempts, times their number
CHUNK = 1 << 20
AGENT = "prepare_data (urllib)"  # some servers refuse urllib's own name
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class FetchError(RuntimeError):
    """No address gave the file; the message lists each with its reason."""


def is_archive(name: str) -> bool:
    """Whether the file name is that of an archive."""
    return name.endswith(ARCHIVES)


def fetch(remote: Remote, folder: Path) -> Path:
    """The file, complete and right, in `folder`; it is downloaded unless it is there already.

    An unfinished download is `<name>...part` and is continued. A file of a wrong checksum is removed.

    Raises:
        FetchError: with every address and what went wrong there.
    """
    path = folder / remote.name
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        problem = what_is_wrong(path, remote)
        if not problem:
            return path
        if not remote.address:
            raise FetchError(f"{path} is not used: {problem}.")  # the user's own copy: it stays
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
    tried = "\n".join(problems) or "  there is no address to get it from"
    raise FetchError(f"{remote.name} could not be had:\n{tried}")


def what_is_wrong(path: Path, remote: Remote) -> str:
    """Why a complete download cannot be the file wanted; "" where nothing speaks against it."""
    size = path.stat().st_size
    if remote.md5:
        md5 = calculate_md5(path)
        return "" if md5 == remote.md5 else f"its md5 is {md5}, not {remote.md5} ({size} bytes)"
    if remote.size and size != remote.size:
        return f"it has {size} bytes, not {remote.size}"
    if is_archive(remote.name) and not (zipfile.is_zipfile(path) or is_tar(path)):
        return f"it is no archive ({size} bytes; a web page?)"
    if remote.name.endswith(".json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            return f"it is no json ({size} bytes; a web page?)"
    return "" if size else "it is empty"


def _part(path: Path, url: str, remote: Remote) -> Path:
    """The unfinished file. Without a checksum, parts from two addresses must not be joined."""
    tag = "" if remote.md5 else f".{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    return path.with_name(f"{path.name}{tag}.part")


def _from_url(url: str, part: Path, remote: Remote) -> str:
    """Fill `part` from `url`; returns what went wrong, "" where nothing did."""
    for _ in range(2):  # once more from the start, where what was continued turns out wrong
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
            if _continue(url, part, remote):
                return ""
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                return f"the server answers {error.code} {error.reason}"
            problem = f"the server answers {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = f"{getattr(error, 'reason', error) or type(error).__name__}"
        except OSError as error:
            if error.errno is None:  # says all of it already
                raise
            raise OSError(
                f"{part} could not be written ({error}). Mend that and run this again: it is continued."
            ) from error
        grown = part.exists() and part.stat().st_size > before
        attempts = 1 if grown else attempts + 1
        if attempts >= ATTEMPTS:
            return problem
        log.info("%s: %s; trying again.", url, problem)
        time.sleep(PAUSE * attempts)


def _continue(url: str, part: Path, remote: Remote) -> bool:
    """One request for what `part` lacks; True where it is complete."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": AGENT} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "")
        if error.code != 416 or not start:
            raise
        if total and int(total[1]) == start:
            return True
        part.unlink()  # longer than the file, or the server does not say: from the start
        return _continue(url, part, remote)
    with response:
        sent_from = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
        resumes = response.status == 206 and sent_from is not None and int(sent_from[1]) == start
        start = start if resumes else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else remote.size
        require_space(part.parent, total - start, remote.name)
        with (
            open(part, "ab" if resumes else "wb") as file,
            progress_bar(f"download {remote.name}", total or None, "B", initial=start) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        return not total or part.stat().st_size >= total


def _from_drive(remote: Remote, path: Path) -> str:
    """The file from Google Drive; returns what went wrong. gdown keeps its own unfinished file and continues it."""
    try:
        import gdown  # only these files need it
    except ImportError:
        return "Google Drive needs the package gdown: `pip install gdown`"
    whole = path.with_name(f"{path.name}.drive")
    try:
        got = gdown.download(id=remote.drive, output=str(whole), quiet=not sys.stderr.isatty(), resume=True)
    except Exception as error:  # its own error types differ from version to version
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if not got or not whole.is_file():
        return "Google Drive did not give the file (too many downloads today? Try later, or in a browser)"
    problem = what_is_wrong(whole, remote)
    if problem:
        whole.unlink()
        return problem
    os.replace(whole, path)
    return ""
