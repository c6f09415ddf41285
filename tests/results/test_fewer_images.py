"""More shots than the data set has images: records say what was used, and tables mark it."""

from __future__ import annotations

import logging

import pytest

from helpers.images import make_images
from helpers.table_records import csv_rows, damaged, record, sealed_text, three, write
from simnl.locations import CONFIGS
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.tables import find_records, render_tables, runs_table, summarise
from simnl.results.tables.common import Request, fewer_images
from simnl.results.tables.grids import FEWSHOT
from simnl.results.tables.records import images_text, no_class_has_enough
from simnl.runs.config import assemble
from simnl.runs.run import run_one


@pytest.mark.parametrize(
    ("shots", "images", "text", "all_short"),
    [
        (1000, [32, 32], "32 per class", True),
        (1000, [5, 32], "5 to 32 per class", True),
        (16, [15, 16], "15 to 16 per class", False),
        (16, [16, 16], "", False),
        (16, None, "", False),
    ],
)
def test_what_is_said(shots, images, text, all_short):
    one = record(shots=shots, images_per_class=images)
    assert (images_text(one), no_class_has_enough(one)) == (text, all_short)


def test_older_records_know_the_mean():
    assert images_text(record(shots=1000, num_train=1280, num_classes=40)) == "32 per class"
    assert images_text(record(shots=16, num_train=15 * 40 + 39, num_classes=40)) == ""
    assert images_text(record(shots=1000, num_train=0)) == ""  # zero-shot


def test_tables_mark_it():
    records = three(50, dataset="shapes", shots=1000, images_per_class=[32, 32])
    records += three(60, dataset="shapes", shots=1000, method="ZeroshotCLIP", images_per_class=None)
    table = FEWSHOT.tables(records, Request())[0]
    text = render_tables([table], "terminal")
    assert "(32 per class)" in text
    assert "Fewer training images than shots: shapes at 1000 shots: 32 per class." in text
    by_method = {row["method"]: row for row in csv_rows(render_tables([table], "csv"))}
    assert (by_method["SimNL"]["images"], by_method["ZeroshotCLIP"]["images"]) == ("32 per class", "")
    assert "32 images per class" in render_tables([runs_table(summarise(records))], "terminal")
    assert {row["variant"] for row in summarise(records)} == {"", "32 images per class"}


def test_a_few_small_classes_are_a_note_below_the_table():
    records = three(90, dataset="caltech101", images_per_class=[15, 16])
    text = render_tables(FEWSHOT.tables(records, Request()), "markdown")
    assert "per class)" not in text
    assert fewer_images(records) == ["Fewer training images than shots: Caltech101 at 16 shots: 15 to 16 per class."]


def test_plots_say_it():
    records = [r for k in (16, 1000) for r in three(50, dataset="shapes", shots=k, images_per_class=[16, min(k, 32)])]
    figure = next(iter(RECORD_KINDS["fewshot"](records).values()))
    texts = " ".join(text.get_text() for text in [*figure.texts, figure._suptitle] if text)
    assert "shapes at 1000 shots: 16 to 32 per class" in " ".join(texts.split())


@pytest.mark.parametrize("method", ["TipAdapter", "ZeroshotCLIP"])
def test_a_run_says_what_it_used(tmp_path, caplog, method):
    for name, number in (("cat", 10), ("dog", 20)):
        make_images(tmp_path / "mine" / name, number)
    settings = {
        "TRAINER.NAME": method, "DATASET.FOLDER": str(tmp_path / "mine"), "DATASET.NUM_SHOTS": 1000, "SEED": 1,
        "OUTPUT_DIR": str(tmp_path / "run"), "STORE.ROOT": str(tmp_path / "store"), "DATALOADER.NUM_WORKERS": 0,
        "VERBOSE": False, "VIEWS.CACHE": 1,
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        run_one(
            assemble([CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / f"{method}.yaml"], (), settings)
        )
    found = find_records([tmp_path / "run"])[0]
    assert (found["shots"], found["images_per_class"]) == (1000, [5, 10] if method == "TipAdapter" else None)
    assert "fewer than 1000 training images, all of which are used: cat (5), dog (10)" in caplog.text


@pytest.mark.parametrize("wrong", ["32", [32, "x"], [float("nan"), 1], 32])
def test_what_is_no_number_of_images_is_refused(tmp_path, wrong):
    write(tmp_path, [record(seed=2)])
    damaged(tmp_path / "1", sealed_text(record(images_per_class=wrong)))
    assert [r["seed"] for r in find_records([tmp_path])] == [2]
