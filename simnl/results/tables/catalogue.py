"""Layouts `datasets` and `prompts`: what is declared here beside the paper's Tables C4 and C5."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.results.published import read
from simnl.results.tables.common import ELEVEN, PRESETS, SHIFTED, Request
from simnl.results.tables.model import MISSING, Block, Cell, Table, text
from simnl.runs.names import dataset_name
from simnl.runs.record import OWN_IMAGES, config_of

PARTS = ("classes", "train", "val", "test")
SAME = "same"


def dataset_names(request: Request) -> list[str]:
    """The data sets asked for; else all that have a config and a fixed size, the paper's first.

    Raises:
        ValueError: an unknown name.
    """
    known = [path.stem for path in (CONFIGS / "datasets").glob("*.yaml")]
    unknown = [name for name in request.datasets if config_of(name) not in known]
    if unknown:
        raise ValueError(f"Unknown data set '{unknown[0]}'. Valid: {', '.join(sorted(known))}.")
    order = [*ELEVEN, *SHIFTED]
    wanted = request.datasets or [name for name in known if name != OWN_IMAGES]
    return sorted(wanted, key=lambda name: (order.index(name) if name in order else len(order), name))


def datasets_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """Sizes as declared, the paper's, and what runs have found."""
    paper = {row["dataset"]: row for row in read("datasets")}
    rows, tidy = [], []
    for name in dataset_names(request):
        sizes, printed = _declared(name), paper.get(name, {})
        theirs = {part: _number(printed.get(part, "")) for part in PARTS}
        found = [_found(records, name, part) for part in ("num_classes", "num_test")]
        note = _difference(sizes, theirs) if printed else "not in the paper"
        cells = [Cell(float(sizes[part]), decimals=0, grouped=True) if sizes.get(part) else Cell() for part in PARTS]
        rows.append([text(dataset_name(name)), *cells, text(note), *map(text, found)])
        tidy.append(
            {
                "layout": "datasets",
                "dataset": name,
                **{part: sizes.get(part) or "" for part in PARTS},
                **{f"paper_{part}": theirs[part] if theirs[part] is not None else "" for part in PARTS},
                "found_classes": found[0],
                "found_test": found[1],
                "task": printed.get("task", ""),
                "source": printed.get("source", ""),
            }  # fmt: skip
        )
    return [
        Table(
            title="Data sets",
            caption=[
                "Classes and images of the standard splits, as declared in datasets/*.py; a data set that differs is "
                "reported when it is read.",
                "Paper: SimNL paper, Table C4; `same`, or what is printed there and differs.",
                "Runs: numbers of classes and of test images in the run records; more than one where runs used parts "
                "of the classes.",
            ],
            blocks=[Block(["data set", *PARTS, "paper", "classes in runs", "test images in runs"], rows)],
            tidy=tidy,
        )
    ]


def _declared(name: str) -> dict[str, int]:
    from dassl.data.datasets import DATASET_REGISTRY

    load_plugins()
    body = yaml.safe_load((CONFIGS / "datasets" / f"{config_of(name)}.yaml").read_text(encoding="utf-8"))
    sizes = DATASET_REGISTRY.get(body["DATASET"]["NAME"]).published
    return {part: getattr(sizes, part) for part in PARTS} if sizes else {}


def _number(printed: str) -> int | None:
    return int(printed) if printed else None


def _difference(sizes: dict[str, int], theirs: dict[str, int | None]) -> str:
    differing = [f"{part} {theirs[part]:,}" for part in PARTS if theirs[part] and theirs[part] != sizes.get(part)]
    return ", ".join(differing) or SAME


def _found(records: Sequence[dict], dataset: str, key: str) -> str:
    values = sorted({r[key] for r in records if r["dataset"] == dataset and key in r})
    return ", ".join(f"{value:,}" for value in values) or MISSING


def prompts_tables(records: Sequence[dict], request: Request) -> list[Table]:
    """Positive and negative templates of SimNL under a preset, with the paper's where they differ.

    Raises:
        ValueError: an unknown preset, or folders of one's own images alone were asked for.
    """
    rows, tidy = [], []
    for name in _names_with_templates(request):
        ours, theirs = _templates(name, request.preset), [r for r in read("prompts") if r["dataset"] == name]
        for number in range(max(len(ours["positive"]), len(ours["negative"]), len(theirs))):
            pair = {kind: _nth(ours[kind], number) for kind in ("positive", "negative")}
            printed = {kind: _nth([row[kind] for row in theirs], number) for kind in ("positive", "negative")}
            note = _prompt_note(pair, printed) if theirs else "not in the paper"
            rows.append([text(dataset_name(name) if number == 0 else ""), *map(text, pair.values()), text(note)])
            tidy.append(
                {
                    "layout": "prompts",
                    "dataset": name,
                    "preset": request.preset,
                    "number": number + 1,
                    **pair,
                    **{f"paper_{kind}": value for kind, value in printed.items()},
                    "differs": note != SAME and bool(theirs),
                    "source": theirs[0]["source"] if theirs else "",
                }  # fmt: skip
            )
    return [
        Table(
            title=f"Prompts, preset {request.preset}",
            caption=[
                f"Templates of configs/datasets/*.yaml as SimNL uses them under the preset {request.preset}; other "
                "methods use the positive ones. CuPL sentences are in files of their own.",
                "Paper: SimNL paper, Table C5, whose data set column is one row off from Caltech101 on and stands here "
                "corrected; `same`, or what is printed there and differs.",
            ],
            blocks=[Block(["data set", "positive", "negative", "paper"], rows)],
            tidy=tidy,
        )
    ]


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

    files = [CONFIGS / "datasets" / f"{dataset}.yaml", CONFIGS / "trainers" / "SimNL.yaml"]
    cfg = assemble(files, settings={"PRESET": preset, "TRAINER.NAME": "SimNL"})
    return {"positive": list(cfg.PROMPTS.POSITIVE), "negative": list(cfg.PROMPTS.NEGATIVE)}


def _nth(values: Sequence[str], number: int) -> str:
    return values[number] if number < len(values) else ""


def _prompt_note(ours: dict[str, str], printed: dict[str, str]) -> str:
    differing = [f"{kind}: {printed[kind] or 'none'}" for kind in ours if ours[kind] != printed[kind]]
    return "DIFFERS, " + "; ".join(differing) if differing else SAME
