"""A folder of one's own images is a data set of its own: in records, tables and figures."""

from __future__ import annotations

import logging

import pytest

from helpers.table_records import csv_rows, record, three, write
from simnl.locations import CONFIGS
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.tables import (
    Request,
    build,
    comparable,
    find_records,
    paired_tables,
    render_tables,
    runs_table,
    summarise,
)  # fmt: skip
from simnl.runs.config import assemble
from simnl.runs.identity import dataset_name
from simnl.runs.record import config_of

OWN = {"dataset": "imagefolder", "split_origin": "generated"}


def folder(name: str, **changes) -> dict:
    """What a record from before the folder stood in the data set's name says of it."""
    return {**OWN, "options": {"DATASET.FOLDER": name}, "split_hash": name[::-1] * 9, **changes}


def found(tmp_path, records) -> list[dict]:
    return find_records([write(tmp_path, records)])


def rows_of(layout: str, records, **request) -> list[dict]:
    return csv_rows(render_tables(build(layout, records, Request(**request)), "csv"))


def test_the_name_is_the_folders(tmp_path):
    def name(**settings):
        files = [CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / "SimNL.yaml"]
        options = ["DATASET.FOLDER", str(tmp_path / "my  photos"), "DATASET.TEST_FRACTION", "0.4", "OPTIM.LR", "0.5"]
        cfg = assemble(files, options, {"DATASET.CONFIG": "imagefolder", "TRAINER.NAME": "SimNL", **settings})
        assert [key for key, _ in cfg.OPTIONS] == ["OPTIM.LR"]
        return dataset_name(cfg)

    assert name() == "imagefolder-my_photos"
    assert name(**{"DATASET.CONFIG": "birds"}) == "birds"  # a yaml of one's own that names the folder
    assert config_of("imagefolder-my_photos") == "imagefolder"
    assert (config_of("dtd"), config_of("imagefolder")) == ("dtd", "imagefolder")


def test_two_folders_are_two_columns_of_standard_runs(tmp_path):
    records = found(tmp_path, three(60.0, **folder("mine")) + three(70.0, **folder("/data/mine2")))
    assert not any(r["options"] for r in records)
    rows = {row["dataset"]: row for row in rows_of("fewshot", records)}
    assert set(rows) == {"imagefolder-mine", "imagefolder-mine2", "average"}
    assert {row["row"] for row in rows.values()} == {"SimNL"}
    assert float(rows["average"]["accuracy"]) == pytest.approx(65.0)


def test_one_name_and_two_contents_never_share_a_column(tmp_path):
    """Hand-made and generated splits, of new and of older records."""
    new = {"dataset": "imagefolder-mine", "options": {}}
    records = three(60.0, **folder("a/mine", split_hash="1" * 64)) + three(70.0, **OWN | new, split_hash="2" * 64)
    records += three(50.0, method="TipAdapterF", **OWN | new, split_hash="2" * 64)
    mine = found(tmp_path / "two", records)
    rows = rows_of("fewshot", mine)
    assert {(row["method"], row["dataset"]): float(row["accuracy"]) for row in rows} == {
        ("SimNL", "imagefolder-mine@11111111"): pytest.approx(60.0),
        ("SimNL", "imagefolder-mine@22222222"): pytest.approx(70.0),
        ("SimNL", "average"): pytest.approx(65.0),
        ("TipAdapterF", "imagefolder-mine@22222222"): pytest.approx(50.0),
    }
    listed = [r for r in records if r["dataset"] == "imagefolder-mine"]
    assert len(comparable(mine, found(tmp_path / "one", listed)[0])) == 6
    by_hand = {**new, "split_origin": "standard"}
    records = three(60.0, **by_hand, split_hash="1" * 64) + three(70.0, **by_hand, split_hash="2" * 64)
    names = {row["dataset"] for row in rows_of("fewshot", found(tmp_path / "hand", records))}
    assert names == {"imagefolder-mine@11111111", "imagefolder-mine@22222222", "average"}


def test_own_runs_count_beside_those_of_other_data_sets(tmp_path, caplog):
    tip = [r for shots in (1, 16) for r in three(40.0 + shots, method="TipAdapterF", shots=shots, **folder("mine"))]
    ours = [r for shots in (1, 16) for r in three(45.0 + shots, shots=shots, **folder("mine"))]
    with caplog.at_level(logging.WARNING):
        records = found(tmp_path, tip + ours + three(30.0, dataset="shapes"))
        text = render_tables(build("fewshot", records, Request()), "terminal")
        figures = RECORD_KINDS["fewshot"](records)
        assert RECORD_KINDS["cost"](records)
    assert "Left out" not in text
    titles = {ax.get_title() for figure in figures.values() for ax in figure.axes}
    assert "imagefolder-mine (own split)" in titles
    differences = csv_rows(render_tables(paired_tables(records, "TipAdapterF", Request()), "csv"))
    assert {(row["dataset"], float(row["difference"])) for row in differences} == {("imagefolder-mine", 5.0)}
    assert not caplog.records


def test_options_of_method_and_prompts_stay_options(tmp_path):
    options = {"DATASET.FOLDER": "mine", "PROMPTS.POSITIVE": ["{}"], "DATASET.SPLIT_FILE": "x.json"}
    (one,) = found(tmp_path, [record(**OWN | {"options": options})])
    assert (one["dataset"], one["options"]) == ("imagefolder-mine", {"PROMPTS.POSITIVE": ["{}"]})
    (other,) = found(tmp_path / "dtd", [record(options={"DATASET.SPLIT_FILE": "x.json"})])
    assert other["options"]
    assert "imagefolder-mine" in render_tables([runs_table(summarise([one]))], "markdown")


def test_layouts_datasets_and_prompts(tmp_path):
    records = found(tmp_path, three(60.0, num_classes=3, num_test=27, **folder("mine")))
    (row,) = rows_of("datasets", records, datasets=("imagefolder-mine",))
    assert (row["found_classes"], row["found_test"], row["classes"]) == ("3", "27", "")
    with pytest.raises(ValueError, match=r"docs/your_own_data\.md"):
        build("prompts", records, Request(datasets=("imagefolder-mine",)))


def test_sensitivity_of_own_images_finds_the_standard_value(tmp_path):
    values = {"TRAINER.SIMNL.ALPHA": 0.5}, {"TRAINER.SIMNL.ALPHA": 3.0}
    records = [r for options in values for r in three(60.0, **folder("mine") | {"options": options})]
    records = found(tmp_path, [{**r, "dataset": "imagefolder-mine"} for r in records])
    (figure,) = RECORD_KINDS["sensitivity"](records).values()
    curve, standard = figure.axes[0].lines
    assert list(curve.get_xdata()) == [0.5, 3.0]
    assert set(standard.get_xdata()) == {1.0}  # ALPHA in configs/trainers/SimNL.yaml
