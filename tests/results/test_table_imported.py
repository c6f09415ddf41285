"""Runs imported from logs stand in the tables of our runs: marked, never ranked, and without a difference."""

from __future__ import annotations

import pytest

from helpers.table_records import csv_rows, record, three
from simnl.results.tables import paired_tables, render_tables, runs_table, summarise
from simnl.results.tables.common import Request
from simnl.results.tables.layouts import build

BACKBONE = {"backbone": "ViT-B-16"}
SAYS = {"preset": "imported", "protocol": "last epoch", "imported": {"log": "log.txt"}, **BACKBONE}
UNSAID = ("weights", "weights_fingerprint", "prompts", "split_hash", "split_origin", "label_noise", "arch", "views")


def imported(mean: float, **changes: object) -> list[dict]:
    """Three runs as `tools/import_runs.py` makes them."""
    runs = three(mean, **{**SAYS, **changes})
    return [{key: value for key, value in run.items() if key not in UNSAID} for run in runs]


def shown(records: list[dict], layout: str = "fewshot", fmt: str = "markdown", **request: object) -> str:
    return render_tables(build(layout, records, Request(**request)), fmt)


def line_of(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    return line


OURS = [*three(70.0, **BACKBONE), *three(60.0, method="MaPLe", **BACKBONE)]
THEIRS = [*imported(90.0, method="MaPLe"), *imported(80.0, method="PromptSRC"), *imported(85.0, method="Unheard")]


def test_they_stand_in_our_table_and_nothing_is_ranked_or_subtracted():
    text = shown(OURS + THEIRS)
    assert text.count("## ") == 1
    assert "<sup>n,i</sup>" in line_of(text, "MaPLe (imported)")  # MaPLe's code has no finding on few-shot
    assert "<sup>c,i</sup>" in line_of(text, "PromptSRC (imported)")
    assert "<sup>n,i</sup>" in line_of(text, "Unheard (imported)")
    assert "**70.00**" in line_of(text, "SimNL")  # the best of ours, though figures beside it are higher
    assert not any("**" in line_of(text, f"{name} (imported)") for name in ("MaPLe", "PromptSRC", "Unheard"))
    assert "(i) MaPLe, PromptSRC, Unheard: imported from the log of another program" in text
    assert "Letters at published and imported figures" in text
    assert "not recorded (MaPLe, PromptSRC, Unheard)" in text  # prompts
    assert "difference" not in text.split("- ")[0]


@pytest.mark.parametrize(("fmt", "mark"), [("latex", r"^{\mathrm{ci}}"), ("terminal", "ᶜⁱ"), ("markdown", "<sup>c,i")])
def test_the_mark_in_each_format(fmt, mark):
    assert mark in shown(OURS + THEIRS, fmt=fmt)


def test_csv_says_the_setting_of_the_imported_run_and_not_that_of_the_table():
    rows = {row["row"]: row for row in csv_rows(shown(OURS + THEIRS, fmt="csv"))}
    theirs, ours = rows["PromptSRC (imported)"], rows["SimNL"]
    assert [theirs[key] for key in ("preset", "protocol", "weights", "marks")] == ["imported", "last epoch", "", "ci"]
    assert [ours[key] for key in ("preset", "protocol", "weights", "marks")] == [
        "repaired",
        "fewshot-val",
        "openai",
        "",
    ]


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({}, True),
        ({"backbone": "RN50"}, False),
        ({"subsample_classes": "base"}, False),
    ],
)
def test_only_with_the_same_backbone_and_classes(changes, together):
    tables = build("fewshot", OURS + imported(90.0, method="MaPLe", **changes), Request(all_runs=True))
    assert (len(tables) == 1) is together


def test_not_beside_wrong_labels_or_a_split_of_our_own():
    for changes in ({"label_noise": 0.1}, {"split_origin": "generated"}):
        ours = [{**run, **changes} for run in OURS]
        assert len(build("fewshot", ours + THEIRS, Request(all_runs=True))) == 2


def test_they_stand_in_the_table_of_each_protocol_of_ours():
    other = three(65.0, protocol="no-val", **BACKBONE)
    tables = build("fewshot", OURS + other + THEIRS, Request())
    assert len(tables) == 2
    assert all("Unheard (imported)" in render_tables([table], "markdown") for table in tables)


BASE = {"subsample_classes": "base", "targets": {"new": 50.0}, **BACKBONE}


@pytest.mark.parametrize(
    ("protocol", "own", "there"),
    [
        ("fewshot-val", "last epoch", True),
        ("no-val", "last epoch", True),
        ("oracle-test", "last epoch", False),
        ("no-val", "best epoch on validation", False),
        ("no-val", "unknown", False),
    ],
)
def test_comparable_leaves_out_what_is_not_known_to_have_our_protocol(protocol, own, there):
    """In base-to-new MaPLe's code chooses nothing and has CoOp's draws; TCP's has constants per data set."""
    ours = three(70.0, protocol=protocol, **BASE)
    theirs = imported(90.0, method="MaPLe", **{**BASE, "protocol": own}) + imported(90.0, method="TCP", **BASE)
    text = shown(ours + theirs, "base2new", comparable=True)
    assert ("MaPLe (imported)" in text) is there
    assert "TCP (imported)" not in text
    every = shown(ours + theirs, "base2new")
    mark = "i" if own == "last epoch" else "n,i"
    assert line_of(every, "MaPLe (imported)").count(f"<sup>{mark}</sup>") == 3  # base, new, and their harmonic mean
    assert line_of(every, "TCP (imported)").count("<sup>c,i</sup>") == 3


def test_published_figures_stand_below_an_imported_run_without_a_difference():
    ours = [record(dataset=name, config_hash=name, **BASE) for name in ("dtd", "eurosat")]
    theirs = [one for run in ours for one in imported(90.0, method="GDA", **{**BASE, "dataset": run["dataset"]})]
    text = shown(ours + theirs, "base2new")
    lines = text.splitlines()
    (at, *_) = [number for number, line in enumerate(lines) if line.startswith("| GDA (imported) ")]
    assert lines[at + 1].startswith("| published ")
    assert "| difference" not in text
    assert "here there is no such pair" in text


def test_transfer_figures_have_the_marks_of_their_task():
    targets = {"imagenetv2": 60.0, "cross:dtd": 40.0}
    ours = three(70.0, dataset="imagenet", targets=targets, **BACKBONE)
    theirs = imported(71.0, method="MaPLe", dataset="imagenet", targets=targets)
    assert "<sup>i</sup>" in line_of(shown(ours + theirs, "cross"), "MaPLe (imported)")
    assert "MaPLe (imported)" in shown(ours + theirs, "dg")


def test_no_paired_difference_and_a_mark_in_the_list_of_runs():
    with pytest.raises(ValueError, match="Nothing to compare with 'MaPLe'"):
        paired_tables(three(70.0, **BACKBONE) + THEIRS, "MaPLe", Request())
    listed = render_tables([runs_table(summarise(OURS + THEIRS))], "markdown")
    assert listed.count("<sup>c,i</sup>") == 1
    assert "(i) MaPLe, PromptSRC, Unheard: imported" in listed


def test_nobody_is_told_to_compute_logits_of_an_imported_run(caplog):
    with pytest.raises(ValueError, match="None of these runs has usable logits"):
        build("metrics", THEIRS, Request())
    assert not caplog.records
