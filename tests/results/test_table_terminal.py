"""Tables in a terminal: never wider than it is; and the one that a script ends with."""

from __future__ import annotations

import io
import os
import re

import pytest
import table as tool

from helpers.table_records import three, write
from simnl.results.overview import runs_at_hand
from simnl.results.tables import render_tables, runs_table, summarise
from simnl.results.tables.fit import fit, folded
from simnl.results.tables.model import Block, Cell, text
from simnl.results.tables.render import FULL, block_text, terminal_width
from simnl.runs.record import write_record


def block(names: list[str], *, same: str = "yes", figures: int = 2) -> Block:
    rows = [[text(name), text(same), *[Cell(50.0 + i, 1.0) for i in range(figures)]] for name in names]
    return Block(["method", "same", *(f"data set {i}" for i in range(figures))], rows)


def shown(content: object) -> str:
    return content if isinstance(content, str) else content.text if content.value is None else f"{content.value:.2f}"


def test_what_fits_is_left_as_it_is():
    one = block(["a", "b"])
    assert fit(one, lambda b: [10] * len(b.headers), 40) == [one]


def test_columns_that_say_the_same_go_into_a_line_above():
    one = folded(block(["a", "b"]))
    assert one.headers == ["method", "data set 0", "data set 1"]
    assert one.shared == "In all rows: same yes."
    alone = folded(block(["a"]))
    assert alone.headers[0] == "method"  # stays, even if there is nothing to tell it from
    lines = block_text(block(["a", "b"]), 40, shown).splitlines()
    assert lines[0] == "In all rows: same yes."
    assert max(map(len, lines)) <= 40


def test_then_columns_continue_below_with_those_that_name_the_rows():
    two = Block(["method", "kind", "x", "y"], [[text(m), text(k), Cell(1.0), Cell(2.0)] for m in "ab" for k in "cd"])
    pieces = fit(two, lambda b: [10] * len(b.headers), 30)
    assert [piece.headers for piece in pieces] == [["method", "kind", "x"], ["method", "kind", "y"]]


def test_then_each_row_is_a_list():
    words = " ".join(["word"] * 30)
    one = Block(["method", "text", "other"], [[text("a"), text(words), text("x y")], [text("b"), text("c"), text("z")]])
    lines = block_text(one, 30, shown).splitlines()
    assert [line for line in lines if line[:1] != " "] == ["a", "", "b"]  # one list per row, whatever is too wide
    assert max(map(len, lines)) <= 30
    assert any("other: x y" in line for line in lines)  # a pair that fits a line is never apart
    assert re.sub(r"\s+", " ", "\n".join(lines)).count("word") == 30


@pytest.mark.parametrize(
    ("columns", "terminal", "expected"),
    [
        ("80", False, 80),
        ("", False, FULL),
        ("none", False, FULL),
        ("0", False, FULL),
        ("100", True, 100),
        ("5", False, 20),
    ],
)
def test_the_width(monkeypatch, columns, terminal, expected):
    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == expected


def test_a_terminals_own_width(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((72, 20)))
    assert terminal_width() == 72


def call(monkeypatch, capsys, *words: str, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["table.py", *words])
    assert tool.main() == 0
    return capsys.readouterr().out


def test_the_format_follows_from_where_it_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    output = str(write(tmp_path / "output", three(60.0) + three(50.0, method="APE")))
    assert call(monkeypatch, capsys, output).startswith("| dataset")
    narrow = call(monkeypatch, capsys, output, COLUMNS="80")
    assert narrow.startswith("In all rows: ")
    assert max(map(len, narrow.splitlines())) <= 80
    file = tmp_path / "table.txt"
    call(monkeypatch, capsys, output, "--output", str(file))  # COLUMNS is of the terminal, not of the file
    assert file.read_text().startswith("| dataset")
    assert max(map(len, call(monkeypatch, capsys, output, "--width", "50").splitlines())) <= 50
    assert max(map(len, call(monkeypatch, capsys, output, "--format", "markdown").splitlines())) > 80
    for wrong in ("3", "wide", "-80"):
        with pytest.raises(SystemExit):
            call(monkeypatch, capsys, output, f"--width={wrong}")
        assert "is no number of columns from 20" in capsys.readouterr().err


def test_the_plain_list_of_many_kinds_fits(tmp_path):
    runs = three(60.0) + three(50.0, options={"TRAINER.SIMNL.ALPHA": 2.0, "SEARCH.ENABLED": False}, label_noise=0.3)
    for width in (20, 40, 80, 120):
        assert max(map(len, render_tables([runs_table(summarise(runs))], "terminal", width).splitlines())) <= width


# ------------------------------------------------------------------ the table that a script ends with


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """Show the table of a command's runs in an OUTPUT with what else was run."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(mine: list[dict], others: list[dict], **more) -> str:
        folders = []
        for number, one in enumerate([*mine, *others]):
            folder = tmp_path / "output" / one["dataset"] / "setting" / str(number) / "shots" / f"seed{one['seed']}"
            write_record(folder, one)
            folders.append(folder)
        return runs_at_hand(folders[: len(mine)], **more)

    return show


def studies() -> list[dict]:
    """Every study ever made on the data set of the command."""
    runs = [r for k in (1, 2, 4, 8) for m in ("SimNL", "APE") for r in three(10.0, method=m, shots=k)]
    runs += [r for v in range(1, 9) for r in three(11.0, options={"TRAINER.SIMNL.ALPHA": float(v)})]
    runs += [r for v in (0.1, 0.5) for r in three(12.0, label_noise=v)]
    runs += three(13.0, subsample_classes="base", targets={"new": 14.0})
    runs += three(15.0, preset="official", config_hash="x") + three(16.0, protocol="full-val", config_hash="y")
    runs += three(17.0, weights_fingerprint="e" * 64, config_hash="z") + three(18.0, split_hash="t", config_hash="w")
    return runs + three(19.0, method="APE", options={"TRAINER.APE.ALPHA": 2.0})


def test_the_runs_at_hand_and_no_other_study(at_hand):
    zero = three(48.67, method="ZeroshotCLIP", prompts=["template"])
    table = at_hand(three(60.0), [*zero, *studies()])
    assert max(map(len, table.splitlines())) <= 80
    rows = table[table.index("-----") :].splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == ["SimNL", "Zero-shot CLIP"]
    assert "60.00 ± " in rows[0]
    assert "48.67 ± " in rows[1]
    said = " ".join(table[: table.index("method ")].split())
    assert said == (
        "In all rows: dataset DTD, backbone RN50, shots 16, preset repaired, protocol fewshot-val, seeds 1 2 3."
    )


def test_a_run_with_options_stands_beside_the_standard_one(at_hand):
    table = at_hand(three(61.0, options={"TRAINER.SIMNL.ALPHA": 3.0}), [*three(60.0), *studies()])
    rows = table[table.index("-----") :].splitlines()[1:]
    assert [("ALPHA=3.0" in row, re.search(r"6\d\.00", row)[0]) for row in rows] == [(False, "60.00"), (True, "61.00")]


def test_seeds_and_targets_are_those_of_the_command(at_hand):
    targets = {"imagenet_a": 30.0, "imagenet_r": 50.0}
    mine = three(60.0, targets=targets)
    table = at_hand(mine[:2], [*mine[2:], *three(70.0, method="APE")[2:]], targets=["imagenet_a"])
    assert "seeds 1 2." in table
    assert "ImageNet-A" in table
    assert "ImageNet-R" not in table
    assert "APE" not in table
