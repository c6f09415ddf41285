"""The layout cross, and the layout base2new beside published figures."""

from __future__ import annotations

import pytest

from helpers.table_records import csv_rows, record, write
from simnl.results.published import published_base2new, sources_of
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.results.tables.common import ELEVEN
from simnl.results.tables.layouts import build_paired

BASE = {"backbone": "ViT-B-16", "arch": "ViT-B-16-quickgelu", "subsample_classes": "base", "method": "GDA"}
GDA_LOGS = "GDA repository, logs"


def show(layout, folder, records, fmt="csv", **request):
    found = find_records([write(folder, records)])
    return render_tables(build(layout, found, Request(**request)), fmt)


def on_halves(datasets, **changes) -> list[dict]:
    """Runs of three seeds on each data set, with 80 % on the base and 60 % on the new classes."""
    each = [(name, seed) for name in datasets for seed in (1, 2, 3)]
    return [
        record(**{"dataset": name, "seed": seed, "accuracy": 80.0, "targets": {"new": 60.0}, **BASE, **changes})
        for name, seed in each
    ]


def by_place(text: str, method: str = "GDA") -> dict[tuple[str, str], dict]:
    return {(r["dataset"], r["part"]): r for r in csv_rows(text) if r["method"] == method}


def test_base_to_new_beside_published_figures(tmp_path):
    text = show("base2new", tmp_path, on_halves(ELEVEN), methods=("GDA", "MaPLe"))
    rows = by_place(text)
    expected = {  # of logs/base2new.log there
        ("imagenet", "base"): 75.95, ("imagenet", "new"): 69.79, ("ucf101", "base"): 86.63, ("average", "base"): 83.96,
        ("average", "new"): 74.53, ("average", "harmonic mean"): 78.97,
    }  # fmt: skip
    for place, published in expected.items():
        row = rows[place]
        assert (float(row["published"]), row["source"]) == (published, GDA_LOGS)
        assert float(row["difference"]) == pytest.approx(float(row["accuracy"]) - published)
    assert float(rows["average", "harmonic mean"]["accuracy"]) == pytest.approx(2 * 80 * 60 / 140)
    assert rows["imagenet", "base"]["published_per_seed"] == "76.16 76.20 75.50"
    assert rows["imagenet", "harmonic mean"]["published"] == ""  # nobody printed one of a single data set
    marks = {place: row["published_marks"] for place, row in rows.items() if row["published"]}
    assert (marks["dtd", "base"], marks["imagenet", "new"]) == ("vd", "td")  # the findings on base-to-new
    absent = by_place(text, "MaPLe")  # a method of others, asked for by name
    assert {part: row["published"] for (_, part), row in absent.items()} == {
        "base": "82.28", "new": "75.14", "harmonic mean": "78.55",
    }  # fmt: skip
    assert {name for name, _ in absent} == {"average"}
    row = absent["average", "new"]
    assert (row["source"], row["shots"], row["published_marks"]) == ("MaPLe repository, README", "16", "")  # its own
    markdown = show("base2new", tmp_path / "again", on_halves(ELEVEN), "markdown")
    assert f"Published: {GDA_LOGS} (GDA)." in markdown
    assert "only where backbone, weights and shots agree and our run has no options." in markdown


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"OPTIM.LR": 0.1}},
        {"split_origin": "own"},
        {"label_noise": 0.1},
        {"backbone": "RN50"},
        {"weights": "laion2b_s34b_b88k"},
        {"shots": 4},
    ],
)
def test_other_runs_on_half_of_the_classes_have_no_published_counterpart(tmp_path, changes):
    rows = by_place(show("base2new", tmp_path, on_halves(["dtd", "eurosat"], **changes)))
    assert rows
    assert all(row["difference"] == "" for row in rows.values())


def test_an_average_over_other_data_sets_has_no_published_counterpart(tmp_path):
    rows = by_place(show("base2new", tmp_path, on_halves(["dtd", "eurosat"])))
    assert rows["dtd", "base"]["published"] != ""
    assert {rows["average", part]["published"] for part in ("base", "new", "harmonic mean")} == {""}


def test_comparable_figures_alone(tmp_path):
    gda = on_halves(ELEVEN, protocol="no-val")
    maple = by_place(show("base2new", tmp_path, gda, methods=("GDA", "MaPLe"), comparable=True,
                          sources=sources_of(["maple", "gda"])), "MaPLe")  # fmt: skip
    assert maple["average", "harmonic mean"]["published"] == "78.55"  # CoOp's draws, and nothing is chosen
    rows = by_place(show("base2new", tmp_path / "gda", gda, comparable=True))
    assert {row["published"] for row in rows.values()} == {""}  # draws of its own, one parameter chosen


def test_harmonic_means_of_another_kind_are_left_out():
    of = {
        method: published_base2new(method, "ViT-B-16", 16, "average", sources_of([source]))
        for method, source in (("GDA", "gda"), ("GDA ", "gda"), ("ProDA", "promptsrc"), ("MaPLe", "promptsrc"))
    }
    assert set(of["GDA"]) == set(of["MaPLe"]) == {"base", "new", "harmonic"}
    assert set(of["ProDA"]) == {"base", "new"}  # its 76.65 is a mean of harmonic means
    assert of["GDA "] == {}
    second_hand = published_base2new("GDA", "ViT-B-16", 16, "average", sources_of(["clip-svd"]))
    assert set(second_hand) == {"base", "new"}
    assert second_hand["new"].task == "base2new"


def test_zero_shot_figures_serve_at_any_number_of_shots():
    for shots in (4, 16):
        found = published_base2new("ZeroshotCLIP", "ViT-B-16", shots, "average", sources_of(["maple"]))
        assert {part: figure.accuracy for part, figure in found.items()} == {
            "base": 69.34, "new": 74.22, "harmonic": 71.70,
        }  # fmt: skip


SHIFTED = {"imagenetv2": 60.0, "imagenet_sketch": 30.0}
OTHERS = {"cross:dtd": 40.0, "cross:caltech101": 90.0, "cross:imagefolder-mine@0a1b2c3d": 20.0}


def from_imagenet(**changes) -> list[dict]:
    return [
        record(**{"dataset": "imagenet", "seed": seed, "accuracy": 70.0 + seed, "method": "CoOp", **changes})
        for seed in (1, 2, 3)
    ]


def test_cross_data_set_transfer(tmp_path):
    records = [*from_imagenet(targets=OTHERS | SHIFTED), *from_imagenet(method="SimNL")]
    rows = {(r["method"], r["dataset"]): r for r in csv_rows(show("cross", tmp_path, records))}
    expected = {
        "imagenet": 72, "imagenet -> cross:caltech101": 90, "imagenet -> cross:dtd": 40,
        "imagenet -> cross:imagefolder-mine@0a1b2c3d": 20, "imagenet -> average": 50,
    }  # fmt: skip
    found = {name: float(r["accuracy"]) for (method, name), r in rows.items() if method == "CoOp"}
    assert found == pytest.approx(expected)
    markdown = show("cross", tmp_path / "again", records, "markdown")
    line = next(line for line in markdown.splitlines() if line.startswith("| method"))
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "method", "ImageNet (source)", "Caltech101", "DTD", "imagefolder-mine", "Average (3 targets)",
    ]  # fmt: skip
    assert "n/a (SimNL): what it learns belongs to the classes of training" in markdown


def test_other_classes_are_never_averaged_with_shifted_data(tmp_path):
    both = from_imagenet(targets=OTHERS | SHIFTED | {"new": 1.0})
    rows = {r["dataset"]: float(r["accuracy"]) for r in csv_rows(show("dg", tmp_path, both)) if r["accuracy"]}
    assert rows == pytest.approx(
        {"imagenet": 72, **{f"imagenet -> {name}": a for name, a in SHIFTED.items()}, "imagenet -> average": 45}
    )
    with pytest.raises(ValueError, match=r"dg\.sh"):
        show("dg", tmp_path / "others", from_imagenet(targets=OTHERS))
    with pytest.raises(ValueError, match=r"cross\.sh"):
        show("cross", tmp_path / "shifted", from_imagenet(targets=SHIFTED))
    plain = show("runs", tmp_path / "plain", both, "markdown")
    assert "ImageNet -> DTD (other classes)" in plain
    assert "ImageNet -> ImageNet-V2 " in plain


def test_two_folders_of_one_name_are_told_apart_in_the_headers(tmp_path):
    targets = {f"cross:imagefolder-mine@{digest}": 40.0 for digest in ("0a1b2c3d", "11111111")}
    markdown = show("cross", tmp_path, from_imagenet(targets=targets), "markdown")
    assert "imagefolder-mine@0a1b2c3d" in markdown
    assert "imagefolder-mine@11111111" in markdown


def test_cross_data_set_transfer_is_compared_on_each_target(tmp_path):
    ours = from_imagenet(targets={name: a + 2 for name, a in OTHERS.items()}, method="CoCoOp")
    found = find_records([write(tmp_path, [*ours, *from_imagenet(targets=OTHERS)])])
    rows = {r["dataset"]: r for r in csv_rows(render_tables(build_paired("cross", found, "CoOp", Request()), "csv"))}
    assert float(rows["imagenet -> average"]["difference"]) == pytest.approx(2)
    assert rows["imagenet -> average"]["n"] == "3"  # targets of a run share its draw
