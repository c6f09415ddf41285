"""Paired differences: over common draws alone, against an independent computation."""

from __future__ import annotations

import re
import statistics

import pytest
from scipy import stats as scipy_stats

from helpers.table_records import csv_rows, record, three, write
from simnl.results.tables import Request, find_records, paired_tables, render_tables


def paired(folder, records, fmt="csv", layout="", **request):
    tables = paired_tables(find_records([write(folder, records)]), "TipAdapterF", Request(**request), layout)
    return render_tables(tables, fmt)


def runs(method: str, dataset: str, shots: int, accuracies: dict[int, float], **more) -> list[dict]:
    return [
        record(method=method, dataset=dataset, shots=shots, seed=seed, accuracy=accuracy, **more)
        for seed, accuracy in accuracies.items()
    ]


def test_differences_over_common_draws(tmp_path):
    records = runs("TipAdapterF", "dtd", 4, {1: 50.0, 2: 52.0, 3: 54.0})
    records += runs("TipAdapterF", "eurosat", 16, {1: 70.0, 2: 71.0})
    records += runs("SimNL", "dtd", 4, {1: 51.5, 2: 52.5, 4: 99.0})  # seed 4 has no partner
    records += runs("SimNL", "eurosat", 16, {1: 73.0, 2: 73.0, 3: 99.0})
    rows = {(row["dataset"], row["shots"]): row for row in csv_rows(paired(tmp_path, records))}
    expected = {
        ("dtd", "4"): [1.5, 0.5],
        ("eurosat", "16"): [3.0, 2.0],
        ("all draws", "all"): [1.5, 0.5, 3.0, 2.0],
        ("dtd", "all"): [1.5, 0.5],
    }
    for place, differences in expected.items():
        n = len(differences)
        half = scipy_stats.t.ppf(0.975, n - 1) * statistics.stdev(differences) / n**0.5
        assert float(rows[place]["difference"]) == pytest.approx(statistics.fmean(differences))
        assert float(rows[place]["ci95"]) == pytest.approx(half)
        assert rows[place]["n"] == str(n)
    assert "+1.75 ± " in paired(tmp_path, records, "markdown")
    assert "(n=4)" in paired(tmp_path, records, "terminal")


@pytest.mark.parametrize(
    "change",
    [
        {"split_hash": "t"}, {"label_noise": 0.1}, {"subsample_classes": "base"}, {"weights_fingerprint": "e" * 64},
        {"shots": 8}, {"protocol": "no-val"}, {"preset": "official"}, {"seed": 2}, {"dataset": "eurosat"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_other_draws_are_not_compared(tmp_path, change):
    records = [record(method="TipAdapterF", accuracy=50.0), record(accuracy=60.0, **change)]
    with pytest.raises(ValueError, match="Nothing to compare with 'TipAdapterF'"):
        paired(tmp_path, records)


def test_runs_with_options_are_rows_of_their_own(tmp_path):
    records = [*three(50.0, method="TipAdapterF"), *three(53.0), *three(54.0, options={"TRAINER.SIMNL.ALPHA": 2.0})]
    rows = {row["row"]: row for row in csv_rows(paired(tmp_path, records)) if row["dataset"] == "dtd"}
    assert float(rows["SimNL"]["difference"]) == pytest.approx(3)
    assert float(rows["SimNL (ALPHA=2.0)"]["difference"]) == pytest.approx(4)
    assert float(rows["SimNL"]["ci95"]) == pytest.approx(0, abs=1e-9)


def test_two_kinds_of_baseline_are_refused(tmp_path):
    records = [*three(50.0, method="TipAdapterF"), *three(51.0, method="TipAdapterF", config_hash="x"), *three(53.0)]
    with pytest.raises(ValueError, match="two configs on dtd with 16 shots"):
        paired(tmp_path, records)
    with pytest.raises(ValueError, match="two configs"):  # nor one for some seeds, another for others
        paired(tmp_path / "seeds", [*records[:1], *records[4:]])
    elsewhere = three(40.0, method="TipAdapterF", dataset="eurosat") + three(41.0, dataset="eurosat")
    assert len(csv_rows(paired(tmp_path / "data", [*records[:3], *records[6:], *elsewhere]))) == 3


def half_width(a: list[float], b: list[float]) -> float:
    interval = scipy_stats.ttest_rel(a, b).confidence_interval(0.95)
    return (interval.high - interval.low) / 2


def shifted(method: str, figures: dict[int, tuple[float, ...]], names: str = "a r", **more) -> list[dict]:
    """Runs by seed: accuracy on the source, then on imagenet_a, imagenet_r, ..."""
    targets = [f"imagenet_{name}" for name in names.split()]
    place = {"dataset": "imagenet", "method": method}
    return [
        record(seed=seed, accuracy=own, targets=dict(zip(targets, on, strict=True)), **{**place, **more})
        for seed, (own, *on) in figures.items()
    ]


def test_shifted_targets_are_compared_each_over_the_seeds_that_both_have(tmp_path):
    theirs = {1: (60.0, 20.0, 50.0), 2: (61.0, 22.0, 51.0), 3: (62.5, 21.0, 55.0), 4: (0.0, 0.0, 0.0)}
    ours = {1: (63.0, 25.0, 50.5), 2: (62.0, 22.5, 54.0), 3: (66.0, 20.0, 53.0), 5: (99.0, 99.0, 99.0)}
    records = shifted("TipAdapterF", theirs) + shifted("SimNL", ours)
    rows = {(row["method"], row["dataset"]): row for row in csv_rows(paired(tmp_path, records, layout="dg"))}
    columns = ("imagenet", "imagenet -> imagenet_a", "imagenet -> imagenet_r", "imagenet -> average")
    assert set(rows) == {("SimNL", column) for column in columns}
    for number, column in enumerate(columns):
        a, b = ([s[number] if number < 3 else (s[1] + s[2]) / 2 for s in map(f.get, (1, 2, 3))] for f in (ours, theirs))
        row = rows["SimNL", column]
        assert float(row["difference"]) == pytest.approx(statistics.fmean(a) - statistics.fmean(b))
        assert float(row["ci95"]) == pytest.approx(half_width(a, b))
        assert (row["n"], row["shots"]) == ("3", "16")
    text = paired(tmp_path / "more", records, "markdown", layout="dg")
    assert "| method   |   ImageNet (source) |" in text
    assert "Average (2 targets)" in text


def test_a_target_that_one_of_them_lacks_is_no_pair(tmp_path):
    """Per target its own seeds; the average only of draws with all targets; other shots, one more block."""
    records = shifted("TipAdapterF", {1: (60.0, 20.0, 50.0), 2: (60.0, 20.0, 50.0)})
    records += shifted("TipAdapterF", {3: (60.0, 20.0)}, "a") + shifted("TipAdapterF", {1: (50.0, 10.0)}, "a", shots=4)
    records += shifted("SimNL", {1: (61.0, 22.0, 51.0), 2: (63.0, 23.0, 56.0), 3: (62.0, 27.0, 59.0)})
    records += shifted("SimNL", {1: (51.0, 18.0, 55.0)}, shots=4)
    records += [r for m in ("SimNL", "TipAdapterF") for r in shifted(m, {1: (1.0,), 2: (1.0,)}, "", shots=2)]
    records += shifted("TaskRes", {1: (61.5,), 2: (62.5,)}, "")
    rows = csv_rows(paired(tmp_path, records, layout="dg"))
    found = {(r["method"], r["shots"], r["dataset"].split("_")[-1]): (float(r["difference"]), r["n"]) for r in rows}
    expected = {
        ("16", "imagenet"): [1.0, 3.0, 2.0], ("16", "a"): [2.0, 3.0, 7.0], ("16", "r"): [1.0, 6.0],
        ("16", "imagenet -> average"): [1.5, 4.5], ("4", "imagenet"): [1.0], ("4", "a"): [8.0],
        ("all", "imagenet"): [1.0, 3.0, 2.0, 1.0], ("all", "a"): [2.0, 3.0, 7.0, 8.0], ("all", "r"): [1.0, 6.0],
        ("all", "imagenet -> average"): [1.5, 4.5],
    }  # fmt: skip
    mine = {place[1:]: value for place, value in found.items() if place[0] == "SimNL"}
    assert mine == {place: (pytest.approx(statistics.fmean(d)), str(len(d))) for place, d in expected.items()}
    assert found["TaskRes", "16", "imagenet"] == (2.0, "2")
    assert ("TaskRes", "16", "a") not in found


def test_base_to_new_is_compared_on_both_halves_and_their_harmonic_mean(tmp_path):
    figures = {
        "dtd": {"TipAdapterF": [(80.0, 60.0), (81.0, 58.0), (79.0, 61.0)], "SimNL": [(83.0, 59.0), (80.0, 66.0)]},
        "eurosat": {"TipAdapterF": [(70.0, 30.0), (72.0, 35.0)], "SimNL": [(75.0, 20.0), (71.0, 40.0), (1.0, 1.0)]},
    }
    records = [
        record(method=m, dataset=d, seed=s, accuracy=base, targets={"new": new}, subsample_classes="base")
        for d, of_method in figures.items()
        for m, pairs in of_method.items()
        for s, (base, new) in enumerate(pairs, 1)
    ]
    records += runs("TipAdapterF", "dtd", 16, {1: 10.0, 2: 10.0}) + runs("SimNL", "dtd", 16, {1: 90.0, 2: 90.0})
    rows = {(r["dataset"], r["part"]): r for r in csv_rows(paired(tmp_path, records, layout="base2new"))}
    assert len(rows) == 9
    three_of = {
        d: {m: [(b, n, statistics.harmonic_mean([b, n])) for b, n in pairs[:2]] for m, pairs in of_method.items()}
        for d, of_method in figures.items()
    }
    for place, datasets in {"dtd": ["dtd"], "eurosat": ["eurosat"], "all draws": list(figures)}.items():
        for number, part in enumerate(("base", "new", "harmonic mean")):
            a, b = ([f[number] for d in datasets for f in three_of[d][m]] for m in ("SimNL", "TipAdapterF"))
            row = rows[place, part]
            assert float(row["difference"]) == pytest.approx(statistics.fmean(a) - statistics.fmean(b))
            assert float(row["ci95"]) == pytest.approx(half_width(a, b))
            assert row["n"] == str(len(a))
    text = paired(tmp_path / "more", records, "markdown", layout="base2new")
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert titles == ["**DTD**", "**EuroSAT**", "**All data sets**"]


def test_nothing_shifted_in_common_is_said(tmp_path):
    records = shifted("SimNL", {1: (60.0, 20.0, 50.0)}) + shifted("TipAdapterF", {2: (60.0, 20.0, 50.0)})
    with pytest.raises(ValueError, match="with figures in the same columns"):
        paired(tmp_path, records, layout="dg")
    with pytest.raises(ValueError, match="base classes"):
        paired(tmp_path / "more", records, layout="base2new")


def test_one_target_has_no_average(tmp_path):
    records = shifted("SimNL", {1: (60.0, 20.0)}, "a") + shifted("TipAdapterF", {1: (60.0, 15.0)}, "a")
    rows = csv_rows(paired(tmp_path, records, layout="dg"))
    assert {row["dataset"]: row["difference"] for row in rows} == {"imagenet": "0.0", "imagenet -> imagenet_a": "5.0"}
    assert "Average" not in paired(tmp_path / "more", records, "markdown", layout="dg")


def test_noise_is_compared_share_by_share(tmp_path):
    """Runs of other studies at no noise stay out; a run is compared with one of the same wrong labels."""
    off = {"TRAINER.SIMNL.REWEIGHT_POSITIVE": False, "TRAINER.SIMNL.REWEIGHT_NEGATIVE": False}
    records = []
    for share in (0.0, 0.5):
        noise = {"label_noise": share, "dataset": "dtd"}
        records += three(60 - 10 * share, **noise) + three(59 - 20 * share, options=off, **noise)
        records += three(50 - 20 * share, method="TipAdapterF", **noise)
    records += three(99.0, options={"TRAINER.SIMNL.ALPHA": 9.0}) + three(98.0, method="APE")
    found = find_records([write(tmp_path, records)])
    (table,) = paired_tables(found, "TipAdapterF", Request(), "noise")
    rows = {(row["row"], row["part"]): (row["difference"], row["n"]) for row in table.tidy}
    without = "SimNL (REWEIGHT_NEGATIVE=false, REWEIGHT_POSITIVE=false)"
    assert rows == {
        ("SimNL", 0.0): (pytest.approx(10), 3), ("SimNL", 0.5): (pytest.approx(15), 3),
        (without, 0.0): (pytest.approx(9), 3), (without, 0.5): (pytest.approx(9), 3),
    }  # fmt: skip
    text = render_tables([table], "markdown")
    assert re.search(r"\| method +\| +0 % \| +50 % \|", text)
    assert "wrong labels)" not in text
    with pytest.raises(ValueError, match="benchmark.sh noise"):
        paired_tables(three(60.0) + three(50.0, method="TipAdapterF"), "TipAdapterF", Request(), "noise")
