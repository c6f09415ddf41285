"""The tables of docs/methods.md, made from what methods say of themselves.

A method's class has a section `Table row` in its docstring; its module's docstring has a paragraph that starts with
`Source:`; the class declares what it can do. `python tools/methods.py` writes the tables into the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from simnl.config_names import known
from simnl.locations import ROOT
from simnl.plugins import load_plugins
from simnl.runs.methods import script_of

PAGE = ROOT / "docs" / "methods.md"
SECTION = "Table row:"
FIELDS = ("prediction", "learned", "parameters", "checked")
HEADINGS = ("method", "prediction", "what is learned", "parameters", "prompts", "source", "checked against")
PROMPTS = {"cupl": "CuPL"}  # how prompt sets are called, where not by their name
ADVICE = "CONTRIBUTING.md (Add a method) shows a complete one."
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
LINK = re.compile(r"https?://[^\s,;)]+")

# What a method can do, and which classes declare that they can.
ABILITIES: dict[str, Callable[[Any], bool]] = {
    "needs no training (training-free)": lambda trainer: trainer.training_free,
    "needs pixels, as it changes the image tower": lambda trainer: not trainer.image_encoder_frozen,
    "needs a ViT": lambda trainer: trainer.needs_vit,
    "learns the image tower's projection, and needs a ViT or CLIP's ResNet": lambda trainer: trainer.before_projection,
    "can classify classes not seen in training (base to new, cross)": lambda trainer: trainer.base_to_new,
    "runs on shifted data sets of the same classes": lambda trainer: True,
    "sees all test images at once (transductive)": lambda trainer: trainer.inference == "transductive",
    "remembers the test images that it has seen (online)": lambda trainer: trainer.inference == "online",
    "runs where there are test images only": lambda trainer: not trainer.uses_support,
}


def parse_row(name: str, docstring: str | None) -> dict[str, str] | None:
    """The section `Table row` of a class's docstring, `FIELDS` to text on one line; None where there is no section.

    Each field is a line `name: text`; a line that is indented deeper goes on with the field above it. The section ends
    with the first line that is not indented.

    Raises:
        ValueError: an unknown field, one that is there twice, is empty or is missing; the message says which.
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
            what = "has the field twice" if field in found else f"knows the fields {', '.join(FIELDS)} alone"
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
    """A method's row, heading to text; None for a method of one's own that has no section `Table row`.

    Raises:
        ValueError: the section cannot be parsed; or it is missing, or there is no source, in a method that comes with
            this program, which is one with a folder in scripts/.
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
    """The rows of all methods that have one, by method, in the order in which their sources appeared.

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
    return _table(HEADINGS, (row.values() for row in rows().values()))


def abilities_table() -> list[str]:
    """What the methods of the other table can do, as lines of markdown."""
    names = list(rows())
    lines = []
    for ability, can in ABILITIES.items():
        able = [name for name in names if can(TRAINER_REGISTRY.get(name))]
        lines.append((ability, "all" if able == names else ", ".join(able) or "none"))
    return _table(("", "methods"), lines)


TABLES = {"methods": methods_table, "abilities": abilities_table}


def filled(page: str) -> str:
    """A page with its tables made anew. They stand between the lines `<!-- begin NAME ... -->` and `<!-- end NAME -->`.

    Raises:
        ValueError: a marker is missing, or as of `row_of`.
    """
    for name, table in TABLES.items():
        block = re.compile(rf"(<!-- begin {name}\b[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not block.search(page):
            raise ValueError(f"{PAGE} has no lines <!-- begin {name} --> and <!-- end {name} -->. Put them back.")
        text = "\n".join(["", *table(), "", ""])
        page = block.sub(lambda match, text=text: match[1] + text + match[2], page)  # type: ignore[misc]
    return page


def _table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    headings = list(headings)
    rule = "|" + "---|" * len(headings)
    return [_line(headings), rule, *map(_line, lines)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
