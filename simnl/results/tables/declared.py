"""Layouts `datasets` and `prompts`: what is declared here beside the paper's Tables C4 and C5."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from simnl.config_names import config_file, known
from simnl.plugins import load_datasets
from simnl.results.published import read
from simnl.results.tables.common import ELEVEN, PRESETS, SHIFTED, Request, in_order
from simnl.results.tables.listing import Listing, number, words
from simnl.results.tables.model import MISSING, Cell, text
from simnl.runs.names import dataset_name
from simnl.runs.record import OWN_IMAGES, config_of
from simnl.runs.yaml_files import read_yaml

SIZES = ("classes", "train", "val", "test")
FOUND = {"found_classes": "num_classes", "found_test": "num_test"}  # in records
KINDS = ("positive", "negative")


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


def _sizes(name: str, records: Sequence[dict]) -> dict:
    from dassl.data.datasets import DATASET_REGISTRY

    load_datasets()
    printed = {row["dataset"]: row for row in read("datasets")}.get(name, {})
    body: Any = read_yaml(config_file("datasets", config_of(name)))
    sizes = DATASET_REGISTRY.get(body["DATASET"]["NAME"]).published
    found = {key: sorted({r[key] for r in records if r["dataset"] == name and key in r}) for key in FOUND.values()}
    return {
        "layout": "datasets",
        "dataset": name,
        **{part: (sizes and getattr(sizes, part)) or "" for part in SIZES},
        **{f"paper_{part}": int(printed[part]) if printed.get(part) else "" for part in SIZES},
        **{name: ", ".join(f"{n:,}" for n in found[key]) or MISSING for name, key in FOUND.items()},
        "task": printed.get("task", ""),
        "source": printed.get("source", ""),
    }


def _size_note(line: dict) -> Cell:
    differing = [part for part in SIZES if line[f"paper_{part}"] not in ("", line[part])]
    return _beside_paper(line, ", ".join(f"{part} {line[f'paper_{part}']:,}" for part in differing))


def _beside_paper(line: dict, differing: str) -> Cell:
    """What the paper prints otherwise; where there is no such thing, whether it prints anything."""
    return text(differing or ("same" if line["source"] else "not in the paper"))


DATA_SETS = Listing(
    groups=lambda records, request: [[_sizes(name, records) for name in dataset_names(request)]],
    columns=lambda records, lines: {
        "data set": lambda line: text(dataset_name(line["dataset"])),
        **{part: number(part) for part in SIZES},
        "paper": _size_note,
        "classes in runs": words("found_classes"),
        "test images in runs": words("found_test"),
    },
    title=lambda lines: "Data sets",
    setting=lambda lines: {},
    caption=lambda records, lines, request: [
        "Classes and images of the standard splits, as declared in datasets/*.py; a data set that differs is reported "
        "when it is read.",
        "Paper: SimNL paper, Table C4; `same`, or what is printed there and differs.",
        "Runs: numbers of classes and of test images in the run records; more than one where runs used parts of the "
        "classes.",
    ],
)


def _all_prompts(request: Request) -> list[dict]:
    """The templates of the data sets asked for.

    Raises:
        ValueError: an unknown preset, or folders of one's own images alone were asked for.
    """
    if request.preset not in PRESETS:
        raise ValueError(f"Unknown preset '{request.preset}'. Choose from {', '.join(PRESETS)}.")
    names = [name for name in dataset_names(request) if config_of(name) != OWN_IMAGES]
    if not names:
        raise ValueError("The templates of one's own images stand in their folder, see docs/your_own_data.md.")
    return [line for name in names for line in _prompt_lines(name, request.preset)]


def _prompt_lines(name: str, preset: str) -> list[dict]:
    from simnl.runs.config import assemble  # imports torch, which most tables do not need

    files = [config_file("datasets", name), config_file("trainers", "SimNL")]
    prompts = assemble(files, settings={"PRESET": preset, "TRAINER.NAME": "SimNL"}).PROMPTS
    theirs = [row for row in read("prompts") if row["dataset"] == name]
    printed = [[row[kind] for row in theirs] for kind in KINDS]
    lines = []
    for count, both in enumerate(zip_longest(prompts.POSITIVE, prompts.NEGATIVE, *printed, fillvalue=""), 1):
        line = {"layout": "prompts", "dataset": name, "preset": preset, "number": count}
        line |= dict(zip((*KINDS, *(f"paper_{kind}" for kind in KINDS)), both, strict=True))
        source = theirs[0]["source"] if theirs else ""
        lines.append(line | {"differs": bool(theirs) and both[:2] != both[2:], "source": source})
    return lines


def _prompt_note(line: dict) -> Cell:
    differing = [kind for kind in KINDS if line["differs"] and line[kind] != line[f"paper_{kind}"]]
    notes = "; ".join(f"{kind}: {line[f'paper_{kind}'] or 'none'}" for kind in differing)
    return _beside_paper(line, f"DIFFERS, {notes}" if notes else "")


PROMPTS = Listing(  # positive and negative templates of SimNL under a preset
    groups=lambda records, request: [_all_prompts(request)],
    columns=lambda records, lines: {
        "data set": lambda line: text(dataset_name(line["dataset"]) if line["number"] == 1 else ""),
        **{kind: words(kind) for kind in KINDS},
        "paper": _prompt_note,
    },
    title=lambda lines: f"Prompts, preset {lines[0]['preset']}",
    setting=lambda lines: {},
    caption=lambda records, lines, request: [
        f"Templates of configs/datasets/*.yaml as SimNL uses them under the preset {request.preset}; other methods use "
        "the positive ones. CuPL sentences are in files of their own.",
        "Paper: SimNL paper, Table C5, whose data set column is one row off from Caltech101 on and stands here "
        "corrected; `same`, or what is printed there and differs.",
    ],
)
