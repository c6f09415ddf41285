"""Layout `fewshot`: our figures, the paper's, differences, averages, and that nothing unlike is mixed."""

from __future__ import annotations

import pytest

from helpers.table_records import HALF, SPREAD, T2, csv_rows, record, three, write
from simnl.results.published import PAPER_A1, published_accuracy
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.results.tables.common import ELEVEN
from simnl.runs.names import dataset_name

METHODS = ("ZeroshotCLIP", "CLIPAdapter", "TipAdapterF", "SimNL")


def tables(folder, records, fmt="csv", **request):
    return render_tables(build("fewshot", find_records([write(folder, records)]), Request(**request)), fmt)


def cells(line: str) -> list[str]:
    """Cells of a row of a markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_table_a1_from_synthetic_records(tmp_path):
    """Ours = the paper's + 1 with a known spread, so every number of the table is known in advance."""
    records = []
    for method in METHODS:
        for shots in (1, 2, 4, 8, 16):
            printed = published_accuracy(method, "RN50", shots, [PAPER_A1])
            for name in ELEVEN:
                records += three(printed[name].accuracy + 1, method=method, shots=shots, dataset=name)
    rows = [row for row in csv_rows(tables(tmp_path, records)) if row["accuracy"]]
    assert len(rows) == len(METHODS) * 5 * 12
    for row in rows:
        printed = published_accuracy(row["method"], "RN50", int(row["shots"]), [PAPER_A1])[row["dataset"]]
        assert float(row["published"]) == printed.accuracy
        assert row["published_ci95"] == ("" if printed.ci is None else str(printed.ci))
        assert row["source"] == PAPER_A1
        assert float(row["ci95"]) == pytest.approx(HALF)
        assert (row["n"], row["seeds"]) == ("3", "1 2 3")
        if row["dataset"] != "average":
            assert float(row["accuracy"]) == pytest.approx(printed.accuracy + 1)
            assert float(row["difference"]) == pytest.approx(1)
        else:
            eleven = published_accuracy(row["method"], "RN50", int(row["shots"]), [PAPER_A1])
            mine = sum(eleven[name].accuracy + 1 for name in ELEVEN) / 11
            assert float(row["accuracy"]) == pytest.approx(mine)
            assert float(row["difference"]) == pytest.approx(mine - printed.accuracy)


def test_table_a1_fits_a_terminal(tmp_path):
    records = [r for name in ELEVEN for m in METHODS for r in three(60.0 + len(m), dataset=name, method=m)]
    text = tables(tmp_path, records, "terminal")
    assert max(map(len, text.splitlines())) <= 212
    assert text.count("16 shots") == 1  # not split


def test_what_the_reader_sees(tmp_path):
    records = [r for name in ELEVEN for r in three(70.0, dataset=name)]
    text = tables(tmp_path, records, "markdown")
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| SimNL"))
    ours, published, difference = map(cells, lines[start : start + 3])
    assert ours[2] == f"70.00 ± {HALF:.2f}"
    assert (published[2], difference[2]) == ("70.83 ± 0.77<sup>v,d</sup>", "-0.83<sup>v,d</sup>")
    assert (published[-1], difference[-1]) == ("77.80 ± 0.50<sup>t,v,d</sup>", "-7.80<sup>t,v,d</sup>")
    header = cells(next(line for line in lines if line.startswith("| method")))
    assert header == ["method", *map(dataset_name, ELEVEN), "Avg. (11)"]
    enhanced = next(i for i, line in enumerate(lines) if line.startswith("| TaskRes (enhanced)"))
    assert cells(lines[enhanced + 1])[2] == "67.13<sup>c</sup>"
    for said in (
        "fewshot-val",
        "repaired",
        "Student t",
        "seeds 1 2 3",
        "cupl+template",
        "(v) SimNL: epoch or hyper-parameters are",
    ):
        assert said in text


def test_an_average_needs_a_complete_row(tmp_path):
    names = list(ELEVEN)
    records = [r for name in names[:-1] for r in three(70.0, dataset=name)]
    records += [r for name in names for r in three(60.0, dataset=name, method="APE")]
    rows = {(row["method"], row["dataset"]): row for row in csv_rows(tables(tmp_path, records))}
    assert rows["SimNL", "average"]["accuracy"] == ""
    assert float(rows["APE", "average"]["accuracy"]) == pytest.approx(60)
    assert rows["SimNL", names[-1]]["accuracy"] == ""
    line = next(line for line in tables(tmp_path, records, "markdown").splitlines() if line.startswith("| SimNL"))
    assert cells(line)[-2:] == ["–", "–"]


def test_an_average_is_over_the_seeds_that_all_data_sets_have(tmp_path):
    records = [*three(70.0, dataset="dtd"), *three(50.0, dataset="eurosat")[:2]]
    rows = csv_rows(tables(tmp_path, records, datasets=("dtd", "eurosat")))
    average = next(row for row in rows if row["dataset"] == "average")
    per_seed = [60 + SPREAD[0], 60 + SPREAD[1]]
    assert float(average["accuracy"]) == pytest.approx(sum(per_seed) / 2)
    assert float(average["ci95"]) == pytest.approx(12.706204736432095 * abs(per_seed[1] - per_seed[0]) / 2)  # t(.975,1)
    assert (average["n"], average["seeds"], average["difference"]) == ("2", "1 2", "")


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "RN101"},
        {"weights": "laion400m"},
        {"shots": 3},
        {"split_origin": "generated"},
        {"label_noise": 0.1},
        {"subsample_classes": "base"},
        {"options": {"OPTIM.MAX_EPOCH": 3}},
        {"dataset": "shapes"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_difference_only_where_everything_agrees(tmp_path, change):
    (tmp_path / "same").mkdir()
    same = next(row for row in csv_rows(tables(tmp_path / "same", three(60.0))) if row["accuracy"])
    assert same["difference"]
    rows = csv_rows(tables(tmp_path / "other", three(60.0, **change)))
    assert [row["difference"] for row in rows if row["accuracy"]] == [""]


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "oracle-test"},
        {"preset": "official"},
        {"backbone": "RN101"},
        {"weights_fingerprint": "e" * 64},
        {"split_hash": "t"},
        {"split_origin": "generated"},
        {"label_noise": 0.1},
        {"subsample_classes": "base"},
        {"config_hash": "another"},
        {"prompts": ["template"]},
        {"options": {"OPTIM.MAX_EPOCH": 3}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_unlike_runs_never_share_a_cell(tmp_path, change):
    """Seed 2 is of another kind: no figure may be made of both."""
    records = [record(seed=1, accuracy=60.0), record(seed=2, accuracy=80.0, **change)]
    rows = [row for row in csv_rows(tables(tmp_path, records, all_runs=True)) if row["accuracy"]]
    assert sorted((float(row["accuracy"]), row["n"]) for row in rows) == [(60.0, "1"), (80.0, "1")]
    text = tables(tmp_path, records, "markdown", all_runs=True)
    assert "70.00" not in text
    assert text.count("60.00") == text.count("80.00") == 1


def test_studies_are_left_out_unless_asked_for(tmp_path):
    records = [*three(60.0), *three(50.0, label_noise=0.3), *three(55.0, options={"TRAINER.SIMNL.ALPHA": 2.0})]
    text = tables(tmp_path, records, "markdown")
    assert "Left out: 6 runs" in text
    assert "50.00" not in text
    everything = tables(tmp_path, records, "markdown", all_runs=True)
    assert "SimNL (ALPHA=2.0)" in everything
    assert "30 % wrong labels" in everything
    assert "55.00" in tables(tmp_path / "alone", records[6:], "markdown")  # there is nothing else to show


def test_a_method_that_cannot_do_it_says_why(tmp_path):
    records = find_records([write(tmp_path, three(60.0, arch="RN50-quickgelu"))])
    from simnl.results.tables import comparison

    comparison.reason_against.cache_clear()
    reason = "its adapters sit in a vision transformer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simnl.runs.capabilities.refusal", lambda method, **_: reason if method == "APE" else None)
        text = render_tables(build("fewshot", records, Request(methods=("SimNL", "APE"))), "markdown")
    comparison.reason_against.cache_clear()
    row = next(line for line in text.splitlines() if line.startswith("| APE"))
    assert set(cells(row)[1:]) == {"n/a"}
    assert f"n/a (APE): {reason}." in text


def test_the_convention_for_intervals_can_be_chosen(tmp_path):
    rows = csv_rows(tables(tmp_path, three(60.0), ci="normal"))
    half = next(row for row in rows if row["accuracy"])["ci95"]
    assert float(half) == pytest.approx(HALF / T2 * 1.96 * (2 / 3) ** 0.5)  # s with n in place of n - 1


def test_views_and_prompts_are_stated_per_method(tmp_path):
    records = [*three(60.0, views={"cache": 10}), *three(60.0, method="TipAdapter", prompts=["template"])]
    text = tables(tmp_path, records, "markdown")
    assert "Prompts: cupl+template (SimNL); template (Tip-Adapter)." in text
    assert "not recorded (Tip-Adapter); cache 10 (SimNL)" in text or "cache 10 (SimNL); not recorded" in text


def test_other_data_sets_do_not_enter_the_average_of_the_eleven(tmp_path):
    records = [r for name in (*ELEVEN, "shapes", "imagefolder") for r in three(60.0, dataset=name)]
    text = tables(tmp_path, records, "markdown")
    assert text.count("## Few-shot") == 2
    assert "Avg. (11)" in text
    assert "Avg. (2)" in text


def test_published_figures_say_how_they_came_about(tmp_path):
    records = [r for name in ELEVEN for m in ("SimNL", "CLIPAdapter") for r in three(70.0, dataset=name, method=m)]
    terminal = tables(tmp_path / "a", records, "terminal")
    assert "66.52 ± 0.13ᵗᵈ" in terminal  # on ImageNet, its code chooses on the test images
    assert "70.83 ± 0.77ᵛᵈ" in terminal
    latex = tables(tmp_path / "b", records, "latex")
    assert r"^{\mathrm{td}}$" in latex
    assert "(n) CLIP-Adapter, CoCoOp: not known." in terminal.replace("\n  ", " ")
    (row,) = [
        row
        for row in csv_rows(tables(tmp_path / "c", records, "csv"))
        if (row["method"], row["dataset"], row["shots"]) == ("SimNL", "imagenet", "16")
    ]
    assert row["published_marks"] == "td"


def test_only_comparable_figures_on_request(tmp_path):
    folder = write(tmp_path, [r for name in ELEVEN for r in three(70.0, dataset=name)])
    records = find_records([folder])
    shown = render_tables(build("fewshot", records, Request(comparable=True)), "markdown")
    assert "60.33" in shown  # zero-shot CLIP has nothing to choose
    assert "70.83" not in shown
    assert "| difference" not in shown
