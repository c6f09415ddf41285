"""Read nouns and adjectives from WordNet's own files, from lists of its lexicographer files, or from a list of words.

Nothing is downloaded. WORDNET, or the places where nltk and Debian put WordNet, may hold:

    a folder with data.noun and data.adj        WordNet's data base (wndb(5WN))
    a folder with noun.*.txt and adj.*.txt      one word per line, one file per lexicographer file
    a text file                                 one word per line, all of them nouns
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NOUN_FILES = (
    "Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling", "food",
    "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process", "quantity",
    "relation", "shape", "state", "substance", "time",
)  # fmt: skip
FILES = {  # numbers and names of lexicographer files of nouns and adjectives (lexnames(5WN))
    "noun": dict(enumerate(NOUN_FILES, 3)),
    "adj": {0: "all", 1: "pert", 44: "ppl"},
}
TYPES = {"noun": ("n",), "adj": ("a", "s")}  # of entries, as they stand in data files
DEBIAN = Path("/usr/share/wordnet")
ADVICE = (
    "set WORDNET to the folder of its files data.noun and data.adj (`python -m nltk.downloader wordnet` and Debian's "
    "package wordnet-base have them), or to a text file with one word in a line"
)
AGAIN = "Install it again, or set WORDNET to a text file with one word in a line."


@dataclass(frozen=True)
class Words:
    """Words by kind (`noun`, `adj`): pairs of a word and its lexicographer file, e.g. ("otter", "noun.animal")."""

    kinds: dict[str, tuple[tuple[str, str], ...]]

    def of(self, kind: str, without: Iterable[str] = ()) -> list[str]:
        """The distinct words of a kind that are in a file other than those `without`, in order."""
        left_out = set(without)
        return list(dict.fromkeys(word for word, file in self.kinds[kind] if file not in left_out))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all words with their files."""
        return hashlib.sha256(repr(sorted(self.kinds.items())).encode()).hexdigest()


def read_words(place: str = "") -> Words:
    """The words at a place, or where nltk and Debian put them; nouns in the order of files' names and lines.

    Raises:
        FileNotFoundError: there are none, or one of two files is missing; the message says what to do.
        ValueError: files that hold no words, cannot be read as text, or are damaged.
    """
    where = _place(place)
    try:
        if where.is_file():
            kinds = {"noun": tuple((line, "noun") for line in _lines(where)), "adj": ()}
        elif any((where / f"data.{kind}").is_file() for kind in FILES):
            kinds = {kind: tuple(_entries(where, kind)) for kind in FILES}
        else:
            kinds = {kind: tuple(_listed(where, kind)) for kind in FILES}
    except UnicodeDecodeError as error:
        raise ValueError(f"WORDNET: {where} is not UTF-8 text. Please {ADVICE}.") from error
    if not any(kinds.values()):
        raise ValueError(f"WORDNET: there are no words in {where}. Please {ADVICE}.")
    return Words(kinds)


def _place(place: str) -> Path:
    if place:
        found = Path(place).expanduser()
        if not found.exists():
            raise FileNotFoundError(f"WORDNET: {found} does not exist. Please {ADVICE}.")
        return found
    nltk = [*filter(None, os.environ.get("NLTK_DATA", "").split(os.pathsep)), "~/nltk_data"]
    nltk += ["/usr/share/nltk_data", "/usr/local/share/nltk_data", "/usr/lib/nltk_data", "/usr/local/lib/nltk_data"]
    for folder in (*(Path(top).expanduser() / "corpora" / "wordnet" for top in nltk), DEBIAN):
        if (folder / "data.noun").is_file():
            return folder
    raise FileNotFoundError(f"WordNet was not found. Please {ADVICE}.")


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield line.strip()


def _listed(folder: Path, kind: str) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob(f"{kind}.*.txt")):
        yield from ((line, path.stem) for line in _lines(path))


def _entries(folder: Path, kind: str) -> list[tuple[str, str]]:
    """The words of a data file, sorted by lexicographer file.

    A line is `offset file type count(hex) (word id)* pointers(decimal) (symbol offset type numbers)* ...`; lines of the
    licence begin with a blank. A file that was cut off is known by pointers to entries that are not in it.
    """
    path, words, offsets, pointers = folder / f"data.{kind}", [], set(), set()
    if not path.is_file():
        raise FileNotFoundError(f"WORDNET: {path} is missing beside the other data file. Please {ADVICE}.")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(" ") or not line.strip():
            continue
        fields = line.partition("|")[0].split()
        found = _entry(fields, kind)
        if found is None:
            raise ValueError(
                f"WORDNET: line {number} of {path} is no entry of WordNet, so the file is damaged. {AGAIN}"
            )
        file, own, targets = found
        offsets.add(fields[0])
        pointers.update(targets)
        words += [(word, file) for word in own]
    if lost := pointers - offsets:
        raise ValueError(f"WORDNET: {path} is damaged: it refers to {len(lost)} entries that are not in it. {AGAIN}")
    return sorted(words, key=lambda entry: entry[1])


def _entry(fields: list[str], kind: str) -> tuple[str, list[str], list[str]] | None:
    """The lexicographer file of an entry, its words, and the offsets of entries of its kind that it points to; None
    for what is no entry."""
    try:
        number, end = int(fields[1]), 4 + 2 * int(fields[3], 16)
        count = int(fields[end])
        words, pointers = fields[4:end:2], fields[end + 1 : end + 1 + 4 * count]
        if not fields[0].isdigit() or fields[2] not in TYPES[kind] or not words or len(pointers) < 4 * count:
            return None
    except (IndexError, ValueError):
        return None
    # an adjective may say where it stands: galore(ip)
    own = [word.partition("(")[0] for word in words]
    targets = [offset for offset, of in zip(pointers[1::4], pointers[2::4], strict=True) if of in TYPES[kind]]
    return f"{kind}.{FILES[kind].get(number, number)}", own, targets
