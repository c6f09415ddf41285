"""tools/table.py as a user types it, and every table command of docs/results.md."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
import table as tool

from helpers.logit_runs import add_detection, add_logits
from helpers.table_records import REPO, csv_rows, damaged, sealed_text, three, write
from simnl.results import bundle
from simnl.results.tables import find_records

COMMANDS = re.findall(r"^python tools/table\.py ([^#\n]*)", (REPO / "docs" / "results.md").read_text(), re.M)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the tool in an empty folder; returns its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["table.py", *words])
        code = tool.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def output(tmp_path):
    """A folder with runs for every layout."""
    runs = [r for method in ("SimNL", "TipAdapterF") for r in three(60.0, method=method)]
    runs += three(66.0, dataset="imagenet", targets={"imagenet_a": 30.0, "imagenet_r": 60.0})
    runs += three(50.0, label_noise=0.3)
    runs += three(61.0, protocol="oracle-test")
    runs += three(80.0, subsample_classes="base", targets={"new": 60.0})
    for value in (1.0, 2.0):
        runs += three(66.0, dataset="imagenet", options={"TRAINER.SIMNL.ALPHA": value, "SEARCH.ENABLED": False})
    runs += three(58.0, options={"TRAINER.SIMNL.RERANK_WEIGHT": 0.0})
    runs += three(65.0, dataset="imagenet", method="TipAdapterF", targets={"imagenet_a": 25.0, "imagenet_r": 59.0})
    runs += three(70.0, subsample_classes="base", method="ZeroshotCLIP", targets={"new": 62.0})
    runs += three(64.0, dataset="imagenet", method="CoOp", targets={"cross:dtd": 45.0, "cross:eurosat": 50.0})
    members = {f"runs/{r['seed']}/result.json": sealed_text(r).encode() for r in three(60.0)}
    bundle.write(tmp_path / "results.zip", members, {})
    folder = write(tmp_path / "output", runs)
    written = find_records([folder])
    add_logits(written)
    add_detection(written[0])
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_docs(call, output, tmp_path, command):
    code, printed, errors = call(*shlex.split(command))
    assert (code, errors) == (0, "")
    written = re.search(r"--output (\S+)", command)
    assert (tmp_path / written[1]).stat().st_size > 200 if written else len(printed) > 200


def test_the_docs_show_every_layout_and_flag():
    text = " ".join(COMMANDS)
    layouts = set(re.findall(r"--layout (\w+)", text))
    assert {*layouts, tool.DEFAULT_LAYOUT} == set(tool.LAYOUTS)
    flags = re.findall(r'"(--[\w-]+)"', (REPO / "tools" / "table.py").read_text())
    documented = (REPO / "docs" / "results.md").read_text()
    assert [flag for flag in flags if f"`{flag}" not in documented and flag not in text] == []


def test_damaged_records_are_named_and_the_rest_is_shown(call, output, caplog):
    bad = damaged(output / "bad", "{")
    foreign = damaged(output / "foreign", '{"result": 1}')
    code, printed, _ = call("output", "--layout", "fewshot")
    assert code == 0
    assert "60.00" in printed
    assert str(bad.relative_to(output.parent)) in caplog.text
    assert str(foreign.relative_to(output.parent)) in caplog.text


def test_nothing_valid_is_an_error(call, tmp_path):
    damaged(tmp_path / "output", "{")
    code, printed, errors = call("output")
    assert (code, printed) == (1, "")
    assert "output/result.json is not valid json" in errors
    assert call("nowhere")[0] == 1


def test_filters_and_what_they_say(call, output):
    _, text, _ = call("output", "--layout", "fewshot", "--methods", "TipAdapterF", "APE", "--format", "csv")
    assert {row["method"] for row in csv_rows(text) if row["accuracy"]} == {"TipAdapterF"}
    assert "APE" in {row["method"] for row in csv_rows(text)}
    for words in (["--methods", "Simnl"], ["--datasets", "dtt"], ["--shots", "3"], ["--protocol", "none"]):
        code, _, errors = call("output", "--layout", "fewshot", *words)
        assert code == 1
        assert "Choose from" in errors


def test_published_figures_can_be_chosen_or_left_out(call, output):
    ours = ("output", "--layout", "fewshot", "--methods", "TipAdapterF", "--datasets", "dtd")
    assert "67.33" in call(*ours)[1]
    assert "66.55" in call(*ours, "--published", "tip")[1]
    assert "published" not in call(*ours, "--published")[1].lower()


def test_differences_stand_in_the_columns_of_the_layout(call, output):
    for layout, against, place, difference in (
        ("dg", "TipAdapterF", "imagenet -> imagenet_a", 5.0),
        ("base2new", "ZeroshotCLIP", "harmonic mean", 2 * 80 * 60 / 140 - 2 * 70 * 62 / 132),
        ("fewshot", "TipAdapterF", "dtd", 0.0),
    ):
        code, text, errors = call("output", "--layout", layout, "--against", against, "--format", "csv")
        assert (code, errors) == (0, "")
        rows = [row for row in csv_rows(text) if row["layout"] == "paired"]
        (row,) = [row for row in rows if place in (row.get("part"), row["dataset"]) and row["method"] == "SimNL"]
        assert float(row["difference"]) == pytest.approx(difference, abs=0.01)
    assert len(rows) > 1  # the runs' own test images, whatever else they were tested on
    assert not any("->" in row["dataset"] for row in rows)


def test_mistakes_are_told(call, output):
    code, printed, errors = call("--layout", "fewshot")
    assert (code, printed) == (1, "")
    assert "tools/table.py output" in errors
    code, printed, errors = call("--layout", "prompts", "--preset", "foo")
    assert (code, printed) == (1, "")
    assert "Unknown preset 'foo'. Choose from repaired, official" in errors
    assert call("--layout", "prompts", "--preset", "official", "repaired")[0] == 1


def test_differences_beside_studies_are_the_studys_or_say_what_was_left_out(call, output):
    def notes(layout: str, *more: str) -> str:
        code, text, errors = call("output", "--layout", layout, "--against", "TipAdapterF", *more)
        assert (code, errors) == (0, "")
        return text[text.index("Differences to") :]

    for layout in ("sensitivity", "ablation"):
        assert f"Of standard runs alone, not of the rows of {layout}" in notes(layout)
        assert "runs with options of their own, wrong labels or a part of the classes" in notes(layout)
    assert "Left out: " in notes("runs")
    assert "Left out: " not in notes("runs", "--all-runs")
    write(output / "tip", three(45.0, method="TipAdapterF", label_noise=0.3))
    text = notes("noise")
    assert "Left out: " not in text
    assert "| SimNL    | +0.00 ± 0.00 (n=3) | +5.00 ± 0.00 (n=3) |" in text


def test_a_csv_of_two_kinds_is_refused(call, output):
    code, _, errors = call("output", "--against", "TipAdapterF", "--format", "csv")
    assert code == 1
    assert "--layout fewshot" in errors
    code, text, _ = call("output", "--layout", "fewshot", "--against", "TipAdapterF", "--format", "csv")
    assert code == 0
    assert {row["layout"] for row in csv_rows(text)} == {"fewshot", "paired"}
