"""The published figures: what is in the files, and which of them a table shows."""

from __future__ import annotations

import csv

import pytest

from helpers.table_records import REPO
from simnl.results.published import (
    ORDER,
    PAPER_A1,
    published_accuracy,
    published_methods,
    published_sensitivity,
    read,
    same_weights,
    source_keys,
    source_row,
    sources_of,
)

ALL = sources_of(source_keys())
PAPER = REPO.parent / "shared" / "paper"
NAMES = {
    "Zero-shot CLIP": "ZeroshotCLIP", "CLIP-Adapter": "CLIPAdapter", "Tip-Adapter-F": "TipAdapterF",
    "Linear Probe CLIP": "LinearProbe",
}  # fmt: skip


def printed(name: str) -> list[dict]:
    """A table as it was handed over with the paper."""
    if not (PAPER / name).is_file():
        pytest.skip(f"{PAPER / name} is not here")
    with (PAPER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_a1_is_complete_and_exact():
    for row in printed("table_a1_fewshot_rn50.csv"):
        method = "TaskRes (enhanced)" if row["method"] == "TaskRes" else NAMES.get(row["method"], row["method"])
        figure = published_accuracy(method, "RN50", int(row["shots"]), [PAPER_A1])[row["dataset"]]
        assert (figure.accuracy, figure.ci) == (float(row["accuracy"]), float(row["ci95"]) if row["ci95"] else None)


def test_table_a2_is_complete_and_exact():
    for row in printed("table_a2_domain_generalization_vit_b32.csv"):
        name = row["dataset"] if row["role"] == "source" else f"imagenet -> {row['dataset']}"
        figures = published_accuracy(NAMES.get(row["method"], row["method"]), "ViT-B-32", 16, ALL)
        assert figures[name].accuracy == float(row["accuracy"])


def test_table_a3_is_shifted_back():
    alpha = published_sensitivity("SimNL", "alpha", "RN50", "imagenet", 16)
    assert {value: figure.accuracy for value, figure in alpha.items()} == {
        0.0: 66.14, 0.5: 66.30, 1.0: 66.41, 1.2: 66.52, 1.5: 66.44,
    }  # fmt: skip
    beta = published_sensitivity("SimNL", "beta", "RN50", "imagenet", 16)
    assert [beta[value].accuracy for value in (1, 1.5, 2, 2.5, 3, 3.5)] == [66.38, 66.44, 66.52, 66.50, 66.48, 66.40]
    assert not published_sensitivity("SimNL", "alpha", "ViT-B-32", "imagenet", 16)
    assert not published_sensitivity("SimNL", "alpha", "RN50", "imagenet", 8)


def test_a_method_has_the_figures_of_one_source():
    tip = published_accuracy("TipAdapter", "RN50", 16, ALL)
    assert {figure.source for figure in tip.values()} == {"Tip-Adapter repository, log"}
    assert (tip["dtd"].accuracy, tip["average"].accuracy) == (60.93, 70.32)
    assert published_accuracy("TipAdapter", "RN50", 16, sources_of(["ape"]))["dtd"].accuracy == 60.70
    assert published_accuracy("TipAdapterF", "RN50", 16, ALL)["dtd"].accuracy == 67.33
    assert published_accuracy("TipAdapterF", "RN50", 16, sources_of(["tip"]))["dtd"].accuracy == 66.55
    assert published_accuracy("APE", "ViT-B-16", 16, ALL)["imagenet"].accuracy == 72.17
    assert not published_accuracy("APE", "RN50", 3, ALL)
    assert not published_accuracy("SimNL", "RN50", 16, ())


def test_taskres_on_the_enhanced_base_is_another_method():
    assert not published_accuracy("TaskRes", "RN50", 16, ALL)
    assert "TaskRes (enhanced)" in published_methods("RN50", 16, PAPER_A1)
    assert published_accuracy("TaskRes", "ViT-B-32", 16, ALL)["imagenet"].accuracy == 68.20


def test_zero_shot_figures_without_shots_serve_for_any():
    figures = published_accuracy("ZeroshotCLIP", "RN50", 4, sources_of(["ape"]))
    assert figures["imagenet"].accuracy == 60.31
    assert published_accuracy("ZeroshotCLIP", "RN50", 4, ALL)["imagenet"].accuracy == 60.33


def test_every_source_states_its_protocol_and_unverified_figures_are_absent():
    for row in read("accuracy"):
        assert source_row(row["source"])["protocol"]
        assert 0 < float(row["accuracy"]) < 100
    assert not {row["method"] for row in read("accuracy")} & {"CLAP", "ZSLP", "CrossModalLP"}


def test_averages_are_means_of_the_eleven():
    for method in ("SimNL", "TipAdapter", "APET", "CoCoOp"):
        for shots in (1, 2, 4, 8, 16):
            figures = published_accuracy(method, "RN50", shots, ALL)
            eleven = [figure.accuracy for name, figure in figures.items() if name != "average"]
            assert len(eleven) == 11
            assert sum(eleven) / 11 == pytest.approx(figures["average"].accuracy, abs=0.06)


@pytest.mark.parametrize(
    ("weights", "same"), [("openai", True), ("/data/RN50.pt", True), ("laion2b_s34b_b79k", False), ("", False)]
)
def test_only_openai_weights_are_compared(weights, same):
    assert same_weights([{"weights": weights}]) is same
    assert same_weights([{"weights": "/data/copy.pt"}, {"weights": weights}]) is same  # of one fingerprint


def test_sources_of_single_figures_are_shown_where_asked_for():
    (figure,) = published_accuracy("CoOp", "RN50", 16, sources_of(["coop"])).values()
    assert (figure.accuracy, figure.per_seed) == (92.0, "91.81 92.01 92.17")
    assert published_accuracy("TipAdapter", "RN50", 16, sources_of(["tip-user"]))["imagenet"].accuracy == 62.02
    assert set(ORDER) < set(source_keys())
    assert not {"coop", "tip-user", "ldc-readme"} & set(
        ORDER
    )  # one figure of a method would hide the table that has all of them


def test_an_unknown_source_is_an_error():
    with pytest.raises(ValueError, match="paper, tip, ape"):
        sources_of(["blog"])
