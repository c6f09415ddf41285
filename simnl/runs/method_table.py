"""The tables of docs/methods.md, made from what methods declare about themselves.

The docstring of a method's class has a section `Table row`, and the docstring of its module a paragraph that starts
with `Source:`. The attributes of the class say what the method can do. `python tools/methods.py` writes the tables into
the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import known
from simnl.fewshot.capabilities import CLIP_TEXT, refusal
from simnl.locations import ROOT
from simnl.plugins import load_plugins
from simnl.runs import pages
from simnl.runs.methods import script_of
from simnl.runs.pages import table

PAGE = ROOT / "docs" / "methods.md"
SECTION = "Table row:"
FIELDS = ("prediction", "learned", "parameters", "checked")
HEADINGS = ("method", "prediction", "what is learned", "parameters", "prompts", "source", "checked against")
PROMPTS = {"cupl": "CuPL"}  # names of prompt sets in the table, where they differ
ADVICE = "CONTRIBUTING.md (Add a method) shows a complete one."
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
LINK = re.compile(r"https?://[^\s,;)]+")


def _has_fallback(trainer: Any, rule: str) -> bool:
    """Whether a method that cannot classify new classes by itself can run with this value of TEST.NEW_CLASSES."""
    return not trainer.base_to_new and refusal(trainer, task="cross", fallback=rule) is None


# Abilities of methods, and the test of whether a class declares each of them.
ABILITIES: dict[str, Callable[[Any], bool]] = {
    "needs no training (training-free)": lambda trainer: trainer.training_free,
    "needs pixels, as it changes the image tower": lambda trainer: not trainer.image_encoder_frozen,
    "needs a ViT": lambda trainer: trainer.needs_vit,
    "needs CLIP's own text tower": lambda trainer: trainer.needs_text == CLIP_TEXT,
    "learns the image tower's projection, and needs a ViT or CLIP's ResNet": lambda trainer: trainer.before_projection,
    "reads features of image patches": lambda trainer: trainer.with_patches,
    "can classify classes not seen in training (base to new, cross)": lambda trainer: trainer.base_to_new,
    "has images that stand in there as a fallback": lambda trainer: _has_fallback(trainer, "neighbours"),
    "has the text classifier there as a fallback": lambda trainer: _has_fallback(trainer, "text"),
    "runs on shifted data sets of the same classes": lambda trainer: True,
    "sees all test images at once (transductive)": lambda trainer: trainer.inference == "transductive",
    "remembers the test images that it has seen (online)": lambda trainer: trainer.inference == "online",
    "runs where there are test images only": lambda trainer: not trainer.uses_support,
}


def parse_row(name: str, docstring: str | None) -> dict[str, str] | None:
    """The section `Table row` of a class's docstring: its `FIELDS` with one line of text each. None without the
    section.

    Each field is a line `name: text`; a line that is indented deeper continues the field above it. The section ends
    with the first line that is not indented.

    Raises:
        ValueError: a field is unknown, is there twice, is empty or is missing. The message names it.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    if SECTION not in lines:
        return None
    found: dict[str, str] = {}
    indent, field = "", ""
    where = f"The section '{SECTION.rstrip(':')}' in the docstring of {name}"
    for line in lines[lines.index(SECTION) + 1 :]:
        text = line.strip()
        if not text:
            continue
        own = line[: len(line) - len(line.lstrip())]
        if not own:
            break
        indent = indent or own
        if len(own) > len(indent) and field:
            found[field] += f" {text}"
            continue
        field, colon, rest = text.partition(":")
        if not colon or field not in FIELDS or field in found:
            what = "has the field twice" if field in found else f"can only have the fields {', '.join(FIELDS)}"
            raise ValueError(f"{where} {what}: '{text}'. {ADVICE}")
        found[field] = rest.strip()
    missing = [field for field in FIELDS if not found.get(field)]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}. {ADVICE}")
    return found


def sources(docstring: str | None) -> list[tuple[str, str]]:
    """(text, address) of each arXiv number and of each address in the paragraph `Source:` of a module's docstring."""
    lines = iter(inspect.cleandoc(docstring or "").splitlines())
    paragraph = ""
    for line in lines:
        if line.startswith("Source:") or paragraph:
            if not line.strip() or line.startswith(("Differences", "Parity")):
                break
            paragraph += f"{line} "
    found = [(number, f"https://arxiv.org/abs/{number}") for number in ARXIV.findall(paragraph)]
    return list(dict.fromkeys(found + [(address, address) for address in LINK.findall(paragraph)]))


def prompts_of(trainer: Any) -> str:
    """The prompt sets of a method, in words."""
    names = [] if trainer.text_features_cached else ["its own"]
    names += [PROMPTS.get(name, name) for name in trainer.prompt_sets]
    names += [f"{PROMPTS.get(name, name)} (optional)" for name in trainer.optional_prompt_sets]
    return ", ".join(names) or "none"


def row_of(method: str) -> dict[str, str] | None:
    """A method's row as text by heading; None for a method of the user's own that has no section `Table row`.

    Raises:
        ValueError: the section cannot be parsed. Also if the section or the source is missing in a method that comes
            with this program, which is a method with a folder in scripts/.
    """
    load_plugins()
    trainer: Any = TRAINER_REGISTRY.get(method)
    module: Any = inspect.getmodule(trainer)
    name, is_bundled = f"{method} ({module.__name__})", not script_of(method).startswith("scripts/run.sh")
    row, links = parse_row(name, trainer.__doc__), sources(module.__doc__)
    if row is None and is_bundled:
        raise ValueError(f"The docstring of {name} has no section '{SECTION.rstrip(':')}'. {ADVICE}")
    if not links and is_bundled:
        raise ValueError(
            f"The docstring of the module {module.__name__} names no source: write a paragraph 'Source:' with an arXiv "
            f"number (arXiv:2103.00020) or an address. {ADVICE}"
        )
    if row is None:
        return None
    source = ", ".join(f"[{text}]({address})" for text, address in links)
    texts = (f"`{method}`", *(row[key] for key in FIELDS[:3]), prompts_of(trainer), source, row["checked"])
    return dict(zip(HEADINGS, texts, strict=True))


def rows() -> dict[str, dict[str, str]]:
    """The rows of all methods that have one, by method, in the order in which the papers appeared.

    Raises:
        ValueError: see `row_of`.
    """
    found = {name: row for name in known("trainers") if (row := row_of(name)) is not None}

    def order(name: str) -> tuple:
        numbers = sorted(re.findall(r"\[(\d{4}\.\d+)\]", found[name]["source"]))
        return numbers[0] if numbers else "9999", not TRAINER_REGISTRY.get(name).training_free, name

    return {name: found[name] for name in sorted(found, key=order)}


def methods_table() -> list[str]:
    """The table of methods, as lines of markdown."""
    return table(HEADINGS, (row.values() for row in rows().values()))


def abilities_table() -> list[str]:
    """The table of what the methods of the first table can do, as lines of markdown."""
    names = list(rows())
    lines = []
    for ability, can in ABILITIES.items():
        able = [name for name in names if can(TRAINER_REGISTRY.get(name))]
        lines.append((ability, "all" if able == names else ", ".join(able) or "none"))
    return table(("", "methods"), lines)


TABLES = {"methods": methods_table, "abilities": abilities_table}


def filled(page: str) -> str:
    """The page with its tables made anew; see `simnl.runs.pages.filled`."""
    return pages.filled(page, TABLES, PAGE)
