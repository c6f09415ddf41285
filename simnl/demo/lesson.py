"""What is to be learned, as a copy that nothing changes, and why it cannot be learned yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from simnl.demo.errors import Refused
from simnl.escaping import UNSAFE, printable, shortened

MAX_NAME = 80  # characters
MAX_PROMPTS, MAX_PROMPT = 100, 300  # lines, and characters of each
SHOWN = 3  # classes that a sentence names


@dataclass(frozen=True)
class Setup:
    """The choices of the command line. `weights` is "" for those of the backbone; `device` is as in `--device`."""

    backbone: str = "tiny"
    weights: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Lesson:
    """A copy of a session at one time.

    Attributes:
        revision, key: those of the session at that time.
        method: the registered name of the method.
        templates, negative_templates: the prompts; None for the defaults.
        names: the names of the classes.
        sentences: the sentences about each class that has any, by its name.
        examples: (number, path, name of the class) of each picture that teaches a class.
        new: (number, path) of each picture that is to be labelled.
        head: the path of a head file that is used in the place of all this, and the name that it had.
    """

    revision: int
    key: str
    method: str
    templates: tuple[str, ...] | None
    negative_templates: tuple[str, ...] | None
    names: tuple[str, ...]
    sentences: Mapping[str, tuple[str, ...]]
    examples: tuple[tuple[int, str, str], ...]
    new: tuple[tuple[int, str], ...]
    head: tuple[Path, str] | None

    def missing(self) -> str:
        """What is missing before anything can be learned, as a sentence; empty if nothing is missing."""
        if self.head is not None:
            return ""
        if len(self.names) < 2:
            there = "There is no class" if not self.names else f"There is one class, {_quoted(self.names)}"
            return f"{there}. Add another one, because two or more are needed."
        filled = {name for _, _, name in self.examples}
        empty = [name for name in self.names if name not in filled]
        if not filled:
            return "No class has a picture yet. Add a few pictures to each class."
        if empty:
            has = "has no picture" if len(empty) == 1 else "have no pictures"
            return f"{_quoted(empty)} {has}. Add some, or remove {'it' if len(empty) == 1 else 'them'}."
        return ""


def _quoted(names: Sequence[str]) -> str:
    shown = [f"“{name}”" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} and {len(names) - SHOWN} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def check_name(name: object, taken: AbstractSet[str]) -> str:
    """The name of a class, without spaces around it. `taken` has the case-folded names of the other classes.

    Raises:
        Refused: the name is empty, too long or that of another class, or has characters that nobody sees.
    """
    text = " ".join(str(name).split())
    if not text:
        raise Refused("A class needs a name, because CLIP reads it.")
    if len(text) > MAX_NAME:
        raise Refused(f"The name of a class may have {MAX_NAME} characters, and this one has {len(text)}.")
    if UNSAFE.search(text):
        raise Refused(f"The name {printable(text)} has characters that cannot be seen. Type it anew.")
    if text.casefold() in taken:
        raise Refused(f"There is a class “{text}” already. Names must differ.", 409)
    return text


def check_prompts(lines: object, placeholder: bool) -> tuple[str, ...]:
    """Prompts, without empty lines and spaces around them.

    Args:
        lines: a list of texts.
        placeholder: True if each text must have {} once, in the place of the name.

    Raises:
        Refused: `lines` is something else or has too many texts, or a text is too long or lacks the {}.
    """
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise Refused("Prompts must be a list of texts.")
    found = tuple(text for line in lines if (text := " ".join(line.split())))
    if len(found) > MAX_PROMPTS:
        raise Refused(f"At most {MAX_PROMPTS} prompts are allowed, and these are {len(found)}.")
    for text in found:
        if len(text) > MAX_PROMPT:
            raise Refused(f"A prompt may have {MAX_PROMPT} characters, and “{shortened(text)}” has {len(text)}.")
        if UNSAFE.search(text):
            raise Refused(f"“{shortened(text)}” has characters that cannot be seen. Type it anew.")
        if placeholder and (text.count("{}") != 1 or text.count("{") + text.count("}") != 2):
            raise Refused(f"“{shortened(text)}” needs {{}} once, where the name of the class goes.")
    return found
