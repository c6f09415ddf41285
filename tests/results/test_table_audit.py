"""Layout `audit`: protocols side by side, and the optimism of choosing on the test images."""

from __future__ import annotations

import pytest

from helpers.table_records import HALF, csv_rows, record, three
from simnl.results.tables import Request, build, render_tables


def text(records, fmt="markdown"):
    return render_tables(build("audit", records, Request()), fmt, 200)


def protocols(method="SimNL", **means):
    return [r for name, mean in means.items() for r in three(mean, method=method, protocol=name.replace("_", "-"))]


def test_a_row_per_method_and_a_column_per_protocol():
    records = protocols(no_val=58, fewshot_val=60, full_val=61, oracle_test=63)
    records += protocols("GDA", no_val=50, fewshot_val=64, full_val=65, oracle_test=64)
    lines = text(records).splitlines()
    header = next(line for line in lines if line.startswith("| method"))
    names = [cell.strip() for cell in header.strip("|").split("|")]
    assert names == ["method", "no-val", "fewshot-val", "full-val", "oracle-test", "optimism"]
    (simnl,) = [line for line in lines if line.startswith("| SimNL")]
    assert "+3.00 ± 0.00" in simnl
    assert f"60.00 ± {HALF:.2f}" in simnl
    (average,) = [line for line in lines if line.startswith("| mean of 2 methods")]
    assert [cell.strip() for cell in average.strip("|").split("|")][1:] == ["54.00", "62.00", "63.00", "63.50", "+1.50"]


def test_differences_are_of_the_same_draws():
    records = protocols(fewshot_val=60) + [record(seed=2, accuracy=65.1, protocol="oracle-test")]
    (row,) = [line for line in csv_rows(text(records, "csv")) if line["protocol"] == "optimism"]
    assert float(row["accuracy"]) == pytest.approx(65.1 - 60.1)
    assert row["n"] == "1"
    other = [record(seed=2, accuracy=65.1, protocol="oracle-test", split_hash="other")]
    assert not [r for r in csv_rows(text(protocols(fewshot_val=60) + other, "csv")) if r["protocol"] == "optimism"]


def test_without_the_usual_protocol_another_honest_one_is_compared():
    assert "minus accuracy under no-val" in text(protocols(no_val=58, full_val=60, oracle_test=61))


def test_nothing_to_compare_is_told():
    for records in (protocols(fewshot_val=60), protocols(oracle_test=60)):
        with pytest.raises(ValueError, match="needs runs under oracle-test and under another protocol"):
            build("audit", records, Request())
