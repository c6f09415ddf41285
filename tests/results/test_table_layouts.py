"""Layouts dg, base2new, sensitivity, noise, cost, datasets, prompts, against figures worked out here."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from helpers.table_records import HALF, REPO, SPREAD, csv_rows, record, three, write
from simnl.results.published import PAPER_A2, published_accuracy
from simnl.results.stats import interval
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.results.tables.comparison import Average, Comparison
from simnl.results.tables.model import figure as figure_cell
from simnl.results.tables.records import by_setting

TARGETS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
VIT = {"backbone": "ViT-B-32", "arch": "ViT-B-32-quickgelu", "dataset": "imagenet"}


def show(layout, folder, records, fmt="csv", **request):
    found = find_records([write(folder, records)]) if records else []
    return render_tables(build(layout, found, Request(**request)), fmt)


def test_table_a2_from_synthetic_records(tmp_path):
    records = []
    for method in ("ZeroshotCLIP", "TaskRes", "GraphAdapter", "SimNL"):
        printed = {k: f.accuracy for k, f in published_accuracy(method, "ViT-B-32", 16, [PAPER_A2]).items()}
        for seed, shift in zip((1, 2, 3), SPREAD, strict=True):
            targets = {name: printed[f"imagenet -> {name}"] + 2 + shift for name in TARGETS}
            accuracy = printed["imagenet"] + 2 + shift
            records.append(record(method=method, seed=seed, accuracy=accuracy, targets=targets, **VIT))
    rows = [row for row in csv_rows(show("dg", tmp_path, records)) if row["accuracy"]]
    assert len(rows) == 4 * 6
    for row in rows:
        printed = published_accuracy(row["method"], "ViT-B-32", 16, [PAPER_A2])
        assert float(row["published"]) == printed[row["dataset"]].accuracy
        assert float(row["ci95"]) == pytest.approx(HALF)
        if row["dataset"].endswith("average"):
            mine = sum(printed[f"imagenet -> {name}"].accuracy + 2 for name in TARGETS) / 4
            assert float(row["accuracy"]) == pytest.approx(mine)
            assert float(row["difference"]) == pytest.approx(mine - printed[row["dataset"]].accuracy)
        else:
            assert float(row["difference"]) == pytest.approx(2)
    text = show("dg", tmp_path, records, "markdown")
    for figure in ("51.31", "47.79", "69.63", "48.40"):  # printed averages, SimNL's source, CoOp's average
        assert figure in text
    heads = ("ImageNet (source)", "ImageNet-V2", "ImageNet-Sketch", "ImageNet-A", "ImageNet-R", "Average (4 targets)")
    line = next(line for line in text.splitlines() if line.startswith("| method"))
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["method", *heads]


def test_an_average_of_other_targets_has_no_published_counterpart(tmp_path):
    records = three(70.0, targets=dict.fromkeys(TARGETS[:2], 50.0), **VIT)
    rows = {row["dataset"]: row for row in csv_rows(show("dg", tmp_path, records)) if row["accuracy"]}
    assert rows["imagenet -> imagenetv2"]["published"] == "59.76"
    assert float(rows["imagenet -> average"]["accuracy"]) == pytest.approx(50)
    assert rows["imagenet -> average"]["published"] == ""


def test_domain_generalisation_of_other_data_has_no_published_figures(tmp_path):
    targets = {"shapes_noise": 20.0, "shapes_inverted": 10.0}
    records = [*three(60.0, dataset="shapes", backbone="tiny", weights="bundled", targets=targets)]
    records += three(70.0, dataset="shapes", backbone="tiny", weights="bundled", method="TaskRes")
    rows = {(r["method"], r["dataset"]): r for r in csv_rows(show("dg", tmp_path, records))}
    assert float(rows["SimNL", "shapes -> average"]["accuracy"]) == pytest.approx(15)
    assert ("TaskRes", "shapes -> shapes_noise") not in rows
    assert all(row["published"] == "" for row in rows.values())
    with pytest.raises(ValueError, match=r"dg\.sh"):
        show("dg", tmp_path / "none", three(60.0))


def test_base_to_new(tmp_path):
    base = {"subsample_classes": "base"}
    records = [
        record(dataset=name, seed=seed, accuracy=80.0 + seed, targets={"new": 60.0 + seed}, **base)
        for name in ("dtd", "eurosat")
        for seed in (1, 2, 3)
    ]
    records += three(70.0, method="TipAdapterF")
    rows = {(r["dataset"], r["part"]): r for r in csv_rows(show("base2new", tmp_path, records))}
    harmonic = [2 * (80 + s) * (60 + s) / (140 + 2 * s) for s in (1, 2, 3)]
    for place in ("dtd", "average"):
        assert float(rows[place, "base"]["accuracy"]) == pytest.approx(82)
        assert float(rows[place, "new"]["accuracy"]) == pytest.approx(62)
        assert float(rows[place, "harmonic mean"]["accuracy"]) == pytest.approx(sum(harmonic) / 3)
        assert float(rows[place, "harmonic mean"]["ci95"]) == pytest.approx(interval(harmonic))
    text = show("base2new", tmp_path, records, "markdown")
    assert "| Tip-Adapter-F" in text
    assert "n/a (Tip-Adapter-F): " in text
    with pytest.raises(ValueError, match="benchmark.sh base2new"):
        show("base2new", tmp_path / "none", three(60.0))


STANDARD = {"ALPHA": 1.2, "BETA": 2.0}


def study(**values: float) -> dict:
    """Options of a run of the sensitivity study: all hyper-parameters named, the search off."""
    options = {f"TRAINER.SIMNL.{key}": value for key, value in {**STANDARD, **values}.items()}
    return {"dataset": "imagenet", "options": {**options, "SEARCH.ENABLED": False}}


def test_table_a3_from_synthetic_records(tmp_path):
    printed = {
        "alpha": {0.0: 66.14, 0.5: 66.30, 1.0: 66.41, 1.2: 66.52, 1.5: 66.44},
        "beta": {1.0: 66.38, 1.5: 66.44, 2.0: 66.52, 2.5: 66.50, 3.0: 66.48, 3.5: 66.40},
    }
    records = [r for value, a in printed["alpha"].items() for r in three(a - 0.5, **study(ALPHA=value))]
    records += [r for v, a in printed["beta"].items() if v != 2.0 for r in three(a - 0.5, **study(BETA=v))]
    rows = csv_rows(show("sensitivity", tmp_path, records))
    assert len(rows) == 5 + 6
    for row in rows:
        expected = printed[row["parameter"]][float(row["value"])]
        assert float(row["published"]) == expected
        assert float(row["accuracy"]) == pytest.approx(expected - 0.5)
        assert float(row["difference"]) == pytest.approx(-0.5)
        assert float(row["ci95"]) == pytest.approx(HALF)
    text = show("sensitivity", tmp_path, records, "markdown")
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| published")] == [
        "published"
    ] * 2


def test_a_curve_holds_runs_that_differ_in_one_value_alone(tmp_path):
    records = [r for value in (0.5, 1.0) for r in three(60.0, **study(ALPHA=value))]
    records += [r for value in (0.5, 1.0) for r in three(70.0, **study(ALPHA=value, BETA=9.0))]
    records += three(50.0, **study(ALPHA=3.0, BETA=5.0))
    rows = csv_rows(show("sensitivity", tmp_path, records))
    alpha = [
        (row["row"], row["value"], row["accuracy"][:2])
        for row in rows
        if row["parameter"] == "alpha" and row["n"] != "0"
    ]
    assert len(alpha) == 4
    assert {(value, accuracy) for row, value, accuracy in alpha if "BETA=2.0" in row} == {("0.5", "60"), ("1.0", "60")}
    assert {(value, accuracy) for row, value, accuracy in alpha if "BETA=9.0" in row} == {("0.5", "70"), ("1.0", "70")}
    assert "50.00" not in show("sensitivity", tmp_path, records, "markdown")
    with pytest.raises(ValueError, match="benchmark.sh sensitivity"):
        show("sensitivity", tmp_path / "none", three(60.0))


def test_curves_with_other_options_stand_beside_no_published_figure(tmp_path):
    """Trained for one epoch with another learning rate: nothing to compare. Other options of the study are no harm."""
    other = {"OPTIM.MAX_EPOCH": 1, "OPTIM.LR": 0.5}
    odd = [{**study(ALPHA=v), "options": {**study(ALPHA=v)["options"], **other}} for v in (0.5, 1.0)]
    records = [r for changes in odd for r in three(50.0, **changes)]
    text = show("sensitivity", tmp_path / "odd", records, "markdown")
    assert "ublished" not in text
    assert "| difference" not in text
    assert {row["published"] for row in csv_rows(show("sensitivity", tmp_path / "odd", records))} == {""}
    both = records + [r for value in (0.5, 1.0) for r in three(60.0, **study(ALPHA=value))]
    rows = csv_rows(show("sensitivity", tmp_path / "both", both))
    compared = {row["accuracy"][:2] for row in rows if row["difference"]}
    assert compared == {"60"}
    assert "no other option than these parameters and the search" in show(
        "sensitivity", tmp_path / "both", both, "markdown"
    )
    elsewhere = [r for value in (7.0, 8.0) for r in three(60.0, **study(ALPHA=value))]
    assert "here there is no such pair" in show("sensitivity", tmp_path / "elsewhere", elsewhere, "markdown")


def test_label_noise_with_and_without_reweighting(tmp_path):
    off = {"TRAINER.SIMNL.REWEIGHT_POSITIVE": False, "TRAINER.SIMNL.REWEIGHT_NEGATIVE": False}
    records = []
    for share in (0.0, 0.1, 0.5):
        noise = {"DATASET.LABEL_NOISE": share}
        records += three(60 - 20 * share, label_noise=share, options=noise)
        records += three(60 - 40 * share, label_noise=share, options={**noise, **off})
        records += three(50.0, label_noise=share, options=noise, method="TaskRes")
    lines = show("noise", tmp_path, records, "markdown").splitlines()
    rows = {cells[1]: cells[2:5] for cells in ([c.strip() for c in line.split("|")] for line in lines if "|" in line)}
    assert rows["method"] == ["0 %", "10 %", "50 %"]
    assert [re.search(r"\d+\.\d+", cell)[0] for cell in rows["SimNL (with reweighting)"]] == ["60.00", "58.00", "50.00"]
    assert [re.search(r"\d+\.\d+", cell)[0] for cell in rows["SimNL (without reweighting)"]] == [
        "60.00",
        "56.00",
        "40.00",
    ]
    assert "TaskRes" in rows
    elsewhere = three(70.0, options={"TRAINER.SIMNL.ALPHA": 2.0}) + three(70.0, method="APE", prompts=["x"])
    assert "70.00" not in show("noise", tmp_path / "more", records + elsewhere, "markdown")
    assert "Prompts: cupl+template." in show("noise", tmp_path / "more", records, "markdown")
    tidy = csv_rows(show("noise", tmp_path, records))
    assert {row["label_noise"] for row in tidy} == {"0.0", "0.1", "0.5"}
    with pytest.raises(ValueError, match="benchmark.sh noise"):
        show("noise", tmp_path / "none", three(60.0))


def test_cost(tmp_path):
    records = three(60.0, trainable_parameters=16_384_000)
    for seed, one in enumerate(records, 1):
        one["seconds"] = {"features": 1.0 * seed, "train": 2.0, "select": 0.5, "test": 0.25, "total": 4.0}
        one["peak_memory_mb"] = {"host": 1000.0, "gpu": 100.0 * seed}
    records += three(50.0, method="ZeroshotCLIP", device="cuda")
    rows = csv_rows(show("cost", tmp_path, records))
    mine = next(row for row in rows if row["method"] == "SimNL")
    assert float(mine["features_s"]) == pytest.approx(2.0)
    assert float(mine["peak_GPU_MB"]) == pytest.approx(200.0)
    assert float(mine["trainable_parameters"]) == 16_384_000
    assert next(row for row in rows if row["method"] == "ZeroshotCLIP")["peak_GPU_MB"] == ""
    text = show("cost", tmp_path, records, "markdown")
    assert "16,384,000" in text
    assert text.count("## Cost") == 2  # runs on a CPU and on a GPU are not compared


def test_data_sets_equal_the_papers(tmp_path):
    rows = {row["dataset"]: row for row in csv_rows(show("datasets", tmp_path, three(60.0)))}
    assert (rows["dtd"]["found_classes"], rows["dtd"]["found_test"]) == ("47", "1,692")
    assert rows["imagenet"]["train"] == rows["imagenet"]["paper_train"] == "1281167"
    for name, row in rows.items():
        for part in ("classes", "train", "val", "test"):
            assert row[f"paper_{part}"] in ("", row[part]), f"{name} {part}"
    assert "DTD" in show("datasets", tmp_path, [], "terminal", datasets=("dtd",))
    with pytest.raises(ValueError, match="nowhere"):
        show("datasets", tmp_path, [], datasets=("nowhere",))


def test_prompts_are_the_papers_and_what_differs_is_marked(tmp_path):
    rows = csv_rows(show("prompts", tmp_path, []))
    paper = [row for row in rows if row["source"]]
    assert len(paper) == 5 * 7 + 10
    assert {row["differs"] for row in paper} == {"False"}
    official = [
        row for row in csv_rows(show("prompts", tmp_path, [], preset="official")) if row["dataset"] == "imagenet"
    ]
    third = next(row for row in official if row["number"] == "3")
    assert third["differs"] == "True"
    assert (third["negative"], third["paper_negative"]) == (
        "a origami piece that isn't a {}.",
        "a origami that isn't a {}.",
    )
    assert "DIFFERS, negative: a origami that isn't a {}." in show(
        "prompts", tmp_path, [], "markdown", preset="official"
    )


BY_SHOTS = Comparison(
    name="by shots",
    title=lambda records: "Accuracy by shots",
    groups=lambda records, request: by_setting(records),
    figures=lambda record: {record["shots"]: record["accuracy"]},
    columns=lambda there, request: sorted(there),
    headers=lambda columns: [str(column) for column in columns],
    block="dataset",
    average=lambda columns: Average("mean", columns, "numbers of shots"),
    place=lambda first, block, column: {"dataset": block, "part": column},
    missing="No runs at all.",
)


def test_a_layout_is_a_declaration():
    records = [r for name in ("dtd", "eurosat") for k in (1, 2) for r in three(50.0 + k, dataset=name, shots=k)]
    records += three(80.0, method="APE", dataset="dtd", shots=1)
    (table,) = BY_SHOTS.tables(records, Request())
    assert table.title == "Accuracy by shots (RN50, repaired, fewshot-val): accuracy in %"
    assert [block.headers for block in table.blocks] == [["method", "1", "2", "mean"]] * 2
    assert [block.title for block in table.blocks] == ["EuroSAT", "DTD"][::-1]
    means = [[cell.value for cell in row[1:]] for row in table.blocks[0].rows]
    assert means == [[pytest.approx(80.0), None, None], [pytest.approx(51.0), pytest.approx(52.0), pytest.approx(51.5)]]
    assert (table.tidy[0]["layout"], table.tidy[0]["dataset"], table.tidy[0]["part"]) == ("by shots", "dtd", 1)
    assert "Average: over all 2 numbers of shots" in "".join(table.caption)
    with pytest.raises(ValueError, match="No runs at all"):
        BY_SHOTS.tables([], Request())


def test_a_layout_shows_figures_in_its_own_way():
    """Another unit, other decimals, and lower figures that are the better ones."""
    errors = replace(
        BY_SHOTS,
        average=None,
        unit="error in %",
        cell=lambda column, stat, usual_n: replace(figure_cell(replace(stat, sign=-1), usual_n), decimals=3),
    )
    (table,) = errors.tables(three(60.0, shots=1) + three(40.0, method="APE", shots=1), Request())
    text = render_tables([table], "markdown")
    assert "fewshot-val): error in %" in text
    assert "**40.000** ± " in text
    assert "<u>60.000</u> ± " in text


def test_no_two_modules_of_results_share_a_name():
    names = [path.stem for path in (REPO / "simnl" / "results").rglob("*.py") if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))
