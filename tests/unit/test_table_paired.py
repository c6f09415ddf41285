"""Paired differences: over common draws alone, against an independent computation."""

from __future__ import annotations

import statistics

import pytest
from scipy import stats as scipy_stats
from table_records import csv_rows, record, three, write

from experiment.tables import Request, find_records, paired_tables, render_tables


def paired(folder, records, fmt="csv", **request):
    return render_tables(paired_tables(find_records([write(folder, records)]), "TipAdapterF", Request(**request)), fmt)


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
    with pytest.raises(ValueError, match="two configs"):
        paired(tmp_path, records)
