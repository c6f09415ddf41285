"""Layouts `datasets` and `prompts`: what is declared here beside the paper's Tables C4 and C5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simnl.config_names import config_file, known
from simnl.plugins import load_plugins
from simnl.results.published import read
from simnl.results.tables.common import ELEVEN, PRESETS, SHIFTED, Request, in_order
from simnl.results.tables.lists import listed, number
from simnl.results.tables.model import MISSING, Cell, Table, text
from simnl.runs.names import dataset_name
from simnl.runs.record import OWN_IMAGES, config_of
from simnl.runs.yaml_files import read_yaml

SIZES = ("classes", "train", "val", "test")
KINDS = ("positive", "negative")
LIKE_THE_PAPER, NOT_IN_THE_PAPER = "same", "not in the paper"


def dataset_names(request: Request) -> list[str]:
    """The data sets asked for; else all that have a config and a fixed size, the paper's first.

    Raises:
        ValueError: an unknown name.
    """
    names = known("datasets")
    unknown = [name for name in request.datasets if config_of(name) not in names]
    if unknown:
        raise ValueError(f"Unknown data set '{unknown[0]}'. Valid: {', '.join(names)}.")
    return in_order(request.datasets or [name for name in names if name != OWN_IMAGES], [*ELEVEN, *SHIFTED])


def datasets_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """Sizes as declared, the paper's Table C4, and what runs have found."""
    lines = [_sizes(name, records) for name in dataset_names(request)]
    columns = {
        "data set": lambda line: text(dataset_name(line["dataset"])),
        **{part: _size_column(part) for part in SIZES},
        "paper": lambda line: text(_size_note(line)),
        "classes in runs": lambda line: text(line["found_classes"]),
        "test images in runs": lambda line: text(line["found_test"]),
    }
    caption = [
        "Classes and images of the standard splits, as declared in datasets/*.py; a data set that differs is reported "
        "when it is read.",
        "Paper: SimNL paper, Table C4; `same`, or what is printed there and differs.",
        "Runs: numbers of classes and of test images in the run records; more than one where runs used parts of the "
        "classes.",
    ]
    return [listed(lines, columns, "Data sets", caption)]


def _sizes(name: str, records: Sequence[dict]) -> dict:
    declared, printed = _declared(name), {row["dataset"]: row for row in read("datasets")}.get(name, {})
    return {
        "layout": "datasets",
        "dataset": name,
        **{part: declared.get(part) or "" for part in SIZES},
        **{f"paper_{part}": int(printed[part]) if printed.get(part) else "" for part in SIZES},
        "found_classes": _found(records, name, "num_classes"),
        "found_test": _found(records, name, "num_test"),
        "task": printed.get("task", ""),
        "source": printed.get("source", ""),
    }


def _declared(name: str) -> dict[str, int]:
    from dassl.data.datasets import DATASET_REGISTRY

    load_plugins()
    body: Any = read_yaml(config_file("datasets", config_of(name)))
    sizes = DATASET_REGISTRY.get(body["DATASET"]["NAME"]).published
    return {part: getattr(sizes, part) for part in SIZES} if sizes else {}


def _size_note(line: dict) -> str:
    differing = {part: line[f"paper_{part}"] for part in SIZES if line[f"paper_{part}"] not in ("", line[part])}
    same = LIKE_THE_PAPER if line["source"] else NOT_IN_THE_PAPER
    return ", ".join(f"{part} {size:,}" for part, size in differing.items()) or same


def _found(records: Sequence[dict], dataset: str, key: str) -> str:
    values = sorted({r[key] for r in records if r["dataset"] == dataset and key in r})
    return ", ".join(f"{value:,}" for value in values) or MISSING


def prompts_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """Positive and negative templates of SimNL under a preset, with the paper's where they differ (Table C5).

    Raises:
        ValueError: an unknown preset, or folders of one's own images alone were asked for.
    """
    lines = [line for name in _names_with_templates(request) for line in _prompt_lines(name, request.preset)]
    columns = {
        "data set": lambda line: text(dataset_name(line["dataset"]) if line["number"] == 1 else ""),
        **{kind: _kind_column(kind) for kind in KINDS},
        "paper": lambda line: text(_prompt_note(line)),
    }
    caption = [
        f"Templates of configs/datasets/*.yaml as SimNL uses them under the preset {request.preset}; other methods use "
        "the positive ones. CuPL sentences are in files of their own.",
        "Paper: SimNL paper, Table C5, whose data set column is one row off from Caltech101 on and stands here "
        "corrected; `same`, or what is printed there and differs.",
    ]
    return [listed(lines, columns, f"Prompts, preset {request.preset}", caption)]


def _prompt_lines(name: str, preset: str) -> list[dict]:
    ours, theirs = _templates(name, preset), [row for row in read("prompts") if row["dataset"] == name]
    lines = []
    for index in range(max(len(theirs), *map(len, ours.values()))):
        pair = {kind: _nth(ours[kind], index) for kind in KINDS}
        printed = {kind: _nth([row[kind] for row in theirs], index) for kind in KINDS}
        lines.append(
            {
                "layout": "prompts",
                "dataset": name,
                "preset": preset,
                "number": index + 1,
                **pair,
                **{f"paper_{kind}": template for kind, template in printed.items()},
                "differs": bool(theirs) and pair != printed,
                "source": theirs[0]["source"] if theirs else "",
            }
        )
    return lines


def _prompt_note(line: dict) -> str:
    if not line["differs"]:
        return LIKE_THE_PAPER if line["source"] else NOT_IN_THE_PAPER
    differing = [kind for kind in KINDS if line[kind] != line[f"paper_{kind}"]]
    return "DIFFERS, " + "; ".join(f"{kind}: {line[f'paper_{kind}'] or 'none'}" for kind in differing)


def _names_with_templates(request: Request) -> list[str]:
    """The data sets asked for, without folders of one's own images."""
    if request.preset not in PRESETS:
        raise ValueError(f"Unknown preset '{request.preset}'. Choose from {', '.join(PRESETS)}.")
    names = [name for name in dataset_names(request) if config_of(name) != OWN_IMAGES]
    if not names:
        raise ValueError("The templates of one's own images stand in their folder, see docs/your_own_data.md.")
    return names


def _templates(dataset: str, preset: str) -> dict[str, list[str]]:
    from simnl.runs.config import assemble

    files = [config_file("datasets", dataset), config_file("trainers", "SimNL")]
    cfg = assemble(files, settings={"PRESET": preset, "TRAINER.NAME": "SimNL"})
    return {"positive": list(cfg.PROMPTS.POSITIVE), "negative": list(cfg.PROMPTS.NEGATIVE)}


def _nth(values: Sequence[str], number: int) -> str:
    return values[number] if number < len(values) else ""


def _size_column(part: str) -> Callable[[dict], Cell]:
    return lambda line: number(line[part] or None)


def _kind_column(kind: str) -> Callable[[dict], Cell]:
    return lambda line: text(line[kind])
