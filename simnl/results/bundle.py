"""A bundle: one archive that holds what a table was made from, so that anybody can check it.

It is a zip file with these members and no others:

    manifest.json                     format, versions, and the SHA-256 of each other member; sealed
    runs/<folder>/result.json         the record of a run, with run.json and config.yaml beside it
    splits/<split>.json               class names and test images of a split
    draws/<split>/<name>.json         training and validation images of a draw, with the labels that a run learned from

Head files stay where they are: the manifest has their SHA-256. Paths of images are relative to the folder of images.
The same runs give the same archive, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simnl.files import replacing, sha256_of
from simnl.runs.record import FILE as RECORD
from simnl.runs.record import environment, read_record
from simnl.sealed import parse_json, seal, unseal

FORMAT = 1
MANIFEST = "manifest.json"
SUFFIX = ".zip"
HEAD = "head.safetensors"
OF_A_RUN = (RECORD, "run.json", "config.yaml")
KINDS = ("runs", "splits", "draws")
MEMBER = re.compile(rf"({'|'.join(KINDS)})(/[^/\\:\x00-\x1f]+)+")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member: the earliest that a zip file knows
LARGEST = 64 * 2**20  # bytes of one member; a record has kilobytes, the test images of ImageNet have 3 MB
MOST = 2 * 2**30  # bytes of all members
# What the standard library raises of an archive that is cut off, damaged, encrypted or packed in an unknown way.
UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError,
    ValueError, struct.error,
)  # fmt: skip
ADVICE = "Get the bundle again from where it came from, or pack it anew."


class BundleError(ValueError):
    """An archive that is no sound bundle; the message names it, what is wrong, and what to do."""

    def __init__(self, path: str | Path, why: str):
        super().__init__(f"{path} is no sound bundle: {why}. {ADVICE}")
        self.why = why


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle whose check sums are right: bytes by name of the member, and the manifest."""

    path: Path
    manifest: Mapping[str, Any]
    members: Mapping[str, bytes]

    def records(self) -> Iterator[tuple[str, dict]]:
        """(name of the member, record) of each run, in the order of names.

        Raises:
            ValueError: a record that is not of this version; the message names it.
        """
        for name in sorted(self.members):
            if name.rpartition("/")[2] == RECORD:
                yield name, read_record(f"{self.path}/{name}", self.members[name])

    def config(self, record_name: str) -> bytes:
        """The config.yaml beside a record."""
        return self.members[f"{record_name.rpartition('/')[0]}/config.yaml"]


def is_bundle(path: Path) -> bool:
    """True for a file whose name ends as a bundle's does."""
    return path.suffix == SUFFIX and path.is_file()


# ---------------------------------------------------------------------- writing


def run_members(records: Iterable[Path], roots: Iterable[Path]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Members of runs, and the SHA-256 of their heads by the run's folder in the bundle.

    Args:
        records: the result.json files.
        roots: the folders that a user named; a run keeps its place below the first of them that holds it.

    Raises:
        FileNotFoundError: a run lacks its run.json or config.yaml; ValueError: two runs would have one place.
    """
    members: dict[str, bytes] = {}
    heads: dict[str, str] = {}
    roots = [root.resolve() for root in roots]
    for folder in (record.parent for record in records):
        here = folder.resolve()
        below = (here.relative_to(r).as_posix() for r in roots if here != r and here.is_relative_to(r))
        place = f"runs/{next(below, here.name)}"
        if f"{place}/{RECORD}" in members:
            raise ValueError(
                f"Two runs would lie at {place} in the bundle, one of them from {folder}. Name one folder."
            )
        for name in OF_A_RUN:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} is not there, so nobody could repeat this run. Run its command again, or leave "
                    "the run out."
                )
            members[f"{place}/{name}"] = (folder / name).read_bytes()
        if (folder / HEAD).is_file():
            heads[place] = sha256_of(folder / HEAD)
    return members, heads


def json_bytes(content: object) -> bytes:
    """A value as json text, the same bytes for the same value."""
    return json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def write(path: Path, members: Mapping[str, bytes], heads: Mapping[str, str]) -> None:
    """Write a bundle, whole or not at all.

    Raises:
        ValueError: a member whose name could not be read back.
        OSError: it cannot be written.
    """
    for name in members:
        if why := _name_problem(name):
            raise ValueError(f"'{name}' cannot be a member of a bundle: {why}. Rename the run's folder.")
    manifest = seal(
        {
            "format": FORMAT,
            "environment": environment(),
            "members": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
            "heads": dict(heads),
        }
    )
    content = {MANIFEST: json_bytes(manifest), **members}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content[name], zipfile.ZIP_DEFLATED)


# ---------------------------------------------------------------------- reading


def read(path: Path) -> Bundle:
    """Read a bundle, and check all of it before anything is used. Nothing is written, nothing is executed.

    Raises:
        FileNotFoundError: there is none.
        BundleError: it is no zip file, cut off, damaged or edited; a member is missing, or there is one too many; a
            name leads out of the archive, or is a link; it is too large; it is of a later format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No such bundle: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries)
            content = {entry.filename: archive.read(entry) for entry in entries}
    except UNREADABLE as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(path, f"it cannot be read as a zip file ({error})") from error
    manifest = _manifest(path, content.pop(MANIFEST, None))
    _check_members(path, manifest["members"], content)
    return Bundle(path, manifest, content)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise BundleError(path, f"it has '{max(names, key=names.count)}' twice")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        why = _name_problem(entry.filename) if entry.filename != MANIFEST else ""
        if why or kind not in (0, stat.S_IFREG):
            raise BundleError(path, f"its member '{entry.filename}' {why or 'is a link or another special file'}")
        if entry.file_size > LARGEST:
            size = f"{entry.file_size:,} bytes, more than any can have"
            raise BundleError(path, f"its member '{entry.filename}' has {size}")
    if sum(entry.file_size for entry in entries) > MOST:
        raise BundleError(path, f"its members have more than {MOST:,} bytes together")


def _name_problem(name: str) -> str:
    if ".." in name.split("/") or name.startswith("/"):
        return "leads out of the archive"
    return "" if MEMBER.fullmatch(name) else f"is not in {', '.join(KINDS)}"


def _manifest(path: Path, content: bytes | None) -> dict:
    if content is None:
        raise BundleError(path, f"it has no {MANIFEST}")
    try:
        manifest: Any = unseal(parse_json(content, f"{path}/{MANIFEST}"))
    except ValueError as error:
        raise BundleError(path, f"its {MANIFEST} is damaged ({getattr(error, 'why', error)})") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(path, f"its format is {manifest.get('format')!r}, and this program knows {FORMAT}")
    if not all(isinstance(manifest.get(key), dict) for key in ("members", "heads", "environment")):
        raise BundleError(path, f"its {MANIFEST} does not list members, heads and environment")
    return manifest


def _check_members(path: Path, listed: Mapping[str, str], content: Mapping[str, bytes]) -> None:
    for name in sorted({*listed, *content}):
        if name not in content:
            raise BundleError(path, f"'{name}' is missing")
        if name not in listed:
            raise BundleError(path, f"'{name}' is not in its {MANIFEST}")
        if hashlib.sha256(content[name]).hexdigest() != listed[name]:
            raise BundleError(path, f"the check sum of '{name}' is wrong: damaged or edited")
