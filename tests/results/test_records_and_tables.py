"""Run records, statistics over seeds, tables."""

from __future__ import annotations

import csv
import io
import statistics

import pytest

from helpers.table_records import sealed_text
from simnl.results.stats import interval, mean
from simnl.results.tables import (
    Request,
    build,
    comparable,
    find_records,
    render_tables,
    runs_table,
    select,
    summarise,
)
from simnl.runs.record import FILE, SCHEMA, is_done, read_record, write_record

BASE = {
    "schema": SCHEMA, "method": "SimNL", "dataset": "dtd", "shots": 16, "seed": 1, "backbone": "RN50",
    "preset": "repaired", "protocol": "fewshot-val", "config_hash": "abc", "accuracy": 60.0,
    "prompts": ["cupl", "template"], "split_origin": "standard",
}  # fmt: skip


def put(folder, **changes):
    record = {**BASE, **changes}
    path = folder / record["dataset"] / record["method"] / record["config_hash"] / f"seed{record['seed']}"
    return write_record(path, record)


def test_round_trip_and_skipping(tmp_path):
    path = put(tmp_path)
    assert read_record(path) == BASE
    assert is_done(path.parent, "abc")
    assert not is_done(path.parent, "abd")
    assert not is_done(tmp_path, "abc")
    assert not is_done(path.parent, "abc", ["imagenet_a"])
    assert is_done(put(tmp_path, targets={"imagenet_a": 1.0}).parent, "abc", ["imagenet_a"])
    path = put(tmp_path)
    assert [p.name for p in path.parent.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", sealed_text({**BASE, "accuracy": "high"}), sealed_text({**BASE, "schema": 0})],
)
def test_a_bad_record_is_named_and_does_not_count_as_done(tmp_path, content):
    path = put(tmp_path)
    path.write_text(content)
    assert not is_done(path.parent, "abc")
    with pytest.raises(ValueError, match=f"None of the records(.|\n)*{path}(.|\n)*run again"):
        find_records([tmp_path])


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": float("nan")}, {"targets": ["imagenet_a"]}, {"targets": {"imagenet_a": "high"}}, {"options": []},
        {"prompts": "cupl"}, {"label_noise": "some"}, {"seconds": 3}, {"split_hash": 1}, {"hparams": None},
        {"swept": None}, {"environment": None}, {"environment": {"packages": None}}, {"trainable_parameters": None},
        {"val_accuracy_per_epoch": 7.5}, {"val_accuracy_per_epoch": [50.0, None]}, {"seconds": {"total": None}},
        {"peak_memory_mb": {"host": "much"}}, {"best_epoch": "last"}, {"num_settings": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record_is_named_and_skipped(tmp_path, caplog, change):
    put(tmp_path, seed=1)
    path = put(tmp_path, seed=2)
    path.write_text(sealed_text({**BASE, "seed": 2, **change}))
    (kept,) = find_records([tmp_path])
    assert kept["seed"] == 1
    assert str(path) in caplog.text
    assert "Skipped" in caplog.text


def test_a_record_that_cannot_be_read_is_skipped(tmp_path, caplog):
    put(tmp_path)
    (tmp_path / "odd" / FILE).mkdir(parents=True)
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / FILE).write_bytes(b"\xff\xfe\x00")
    assert len(find_records([tmp_path])) == 1
    assert caplog.text.count("Skipped") == 2


def test_a_copied_run_counts_once(tmp_path, caplog):
    put(tmp_path / "a")
    put(tmp_path / "copy", targets={"imagenet_a": 1.0})
    (row, _) = summarise(find_records([tmp_path]))
    assert (row["seeds"], row["accuracy"]) == ("1", 60.0)
    assert not caplog.text
    put(tmp_path / "other", accuracy=70.0)
    assert {row["accuracy"] for row in summarise(find_records([tmp_path]))} == {60.0, 1.0}
    assert "differ in accuracy" in caplog.text


def test_a_default_said_twice_is_no_option(tmp_path):
    """A study may have run a config first, naming options that are its defaults."""
    put(tmp_path, seed=1, options={"TRAINER.SIMNL.ALPHA": 1.0, "DATASET.LABEL_NOISE": 0.0})
    put(tmp_path, seed=2, options={})
    assert [record["options"] for record in find_records([tmp_path])] == [{}, {}]


def test_selecting_names_what_there_is(tmp_path):
    put(tmp_path)
    put(tmp_path, method="TaskRes", config_hash="b")
    records = find_records([tmp_path])
    assert len(select(records, {"method": ["TaskRes"], "shots": []}, {})) == 1
    assert len(select(records, {"method": ["TaskRes", "APE"]}, {"method": ["APE"]})) == 1
    with pytest.raises(ValueError, match="No record has shots '8'. Choose from 16"):
        select(records, {"shots": [8]}, {})
    with pytest.raises(ValueError, match="No run has all of this: method APE"):
        select(records, {"method": ["APE"]}, {"method": ["APE"]})


def test_an_incomplete_record_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="'accuracy' is missing"):
        write_record(tmp_path, {k: v for k, v in BASE.items() if k != "accuracy"})
    assert not list(tmp_path.iterdir())


def test_intervals_against_textbook_values():
    values = [60.0, 61.0, 63.5]
    s, n = statistics.stdev(values), 3
    assert interval(values) == pytest.approx(4.302652729911275 * s / n**0.5)  # t(0.975, 2)
    assert interval(values, "normal") == pytest.approx(1.96 * statistics.pstdev(values) / n**0.5)
    assert mean(values) == pytest.approx(statistics.fmean(values))
    assert interval([60.0]) is None
    with pytest.raises(ValueError, match="normal"):
        interval(values, "bootstrap")


def test_rows_gather_seeds_and_nothing_else(tmp_path):
    for seed, accuracy in ((1, 60.0), (2, 61.0), (3, 63.5)):
        put(tmp_path, seed=seed, accuracy=accuracy)
    put(tmp_path, seed=1, accuracy=70.0, preset="official", config_hash="def")
    put(tmp_path, seed=1, accuracy=80.0, protocol="oracle-test", config_hash="fed")
    put(tmp_path, seed=1, accuracy=50.0, split_origin="generated", config_hash="eee")
    rows = summarise(find_records([tmp_path]))
    assert len(rows) == 4
    row = next(r for r in rows if r["seeds"] == "1 2 3")
    assert row["accuracy"] == pytest.approx(61.5)
    assert row["ci95"] == pytest.approx(4.478, abs=1e-3)
    assert "fewshot-val (own split)" in {r["protocol"] for r in rows}


def test_rows_that_look_the_same_say_what_they_differ_in(tmp_path):
    put(tmp_path, accuracy=60.0, config_hash="0123456789")
    put(tmp_path, accuracy=61.0, config_hash="abcdefabcd")
    put(tmp_path, accuracy=62.0, config_hash="x", weights_fingerprint="f" * 64, dataset="eurosat")
    put(tmp_path, accuracy=63.0, config_hash="x", weights_fingerprint="e" * 64, dataset="eurosat", method="TaskRes")
    put(tmp_path, accuracy=64.0, config_hash="y", weights_fingerprint="e" * 64, dataset="eurosat")
    put(tmp_path, accuracy=65.0, config_hash="y", split_hash="1" * 64, dataset="ucf101")
    put(tmp_path, accuracy=66.0, config_hash="y", split_hash="2" * 64, dataset="ucf101", seed=2)
    rows = summarise(find_records([tmp_path]))
    assert {row["accuracy"]: row["variant"] for row in rows} == {
        60.0: "config 01234567", 61.0: "config abcdefab", 62.0: "weights ffffffff", 63.0: "", 64.0: "weights eeeeeeee",
        65.0: "split 11111111", 66.0: "split 22222222",
    }  # fmt: skip
    assert "config 01234567" in render_tables([runs_table(rows)], "markdown")


def test_the_same_weights_at_two_places_are_one_setting(tmp_path):
    for seed, weights in ((1, "/a/RN50.pt"), (2, "/a/RN50.pt"), (3, "/b/copy.pt")):
        put(tmp_path, seed=seed, accuracy=60.0 + seed, weights=weights, weights_fingerprint="f" * 64)
    records = find_records([tmp_path])
    assert [row["seeds"] for row in summarise(records)] == ["1 2 3"]
    (table,) = build("fewshot", records, Request())
    (mine,) = [row for row in table.tidy if row["dataset"] == "dtd" and row.get("n")]
    assert mine["n"] == 3
    assert mine["published"]
    put(tmp_path, seed=1, config_hash="old", weights="/c.pt")  # without a fingerprint the name is all there is
    assert len(build("fewshot", find_records([tmp_path]), Request())) == 2


def test_only_comparable_runs_share_a_table(tmp_path):
    put(tmp_path, weights_fingerprint="w")
    put(tmp_path, weights_fingerprint="w", method="ZeroshotCLIP", accuracy=50.0)
    put(tmp_path, weights_fingerprint="w", shots=4, config_hash="b")
    put(tmp_path, weights_fingerprint="v", config_hash="c")
    put(tmp_path, weights_fingerprint="w", protocol="oracle-test", config_hash="d")
    records = find_records([tmp_path])
    mine = next(r for r in records if r["config_hash"] == "abc" and r["method"] == "SimNL")
    assert {r["method"] for r in comparable(records, mine)} == {"SimNL", "ZeroshotCLIP"}
    assert len(comparable(records, mine)) == 2


def test_every_format(tmp_path):
    put(tmp_path, seed=1, accuracy=60.0)
    put(tmp_path, seed=2, accuracy=61.0)
    put(tmp_path, seed=1, dataset="oxford_pets", accuracy=80.0)
    rows = summarise(find_records([tmp_path]))
    markdown = render_tables([runs_table(rows)], "markdown")
    assert "| DTD" in markdown
    assert "60.50 ± 6.35" in markdown
    assert "80.00 " in markdown
    latex = render_tables([runs_table(rows)], "latex")
    assert "OxfordPets" in latex
    assert r"$60.50\,{\scriptstyle\pm6.35}$" in latex
    parsed = list(csv.DictReader(io.StringIO(render_tables([runs_table(rows)], "csv"))))
    assert float(parsed[0]["accuracy"]) == 60.5
    assert parsed[1]["ci95"] == ""
    assert "variant" not in markdown
    put(tmp_path, config_hash="c", options={"TRAINER.SIMNL.ALPHA": 2.0}, label_noise=0.3)
    assert "ALPHA=2.0; 30 % wrong labels" in render_tables(
        [runs_table(summarise(find_records([tmp_path])))], "markdown"
    )
    with pytest.raises(ValueError, match="markdown"):
        render_tables([runs_table(rows)], "html")


def test_nothing_to_show_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"main\.sh shapes 16"):
        find_records([tmp_path])
    with pytest.raises(FileNotFoundError, match="No such file"):
        find_records([tmp_path / "nothing"])
