"""Metrics of runs, from the logits beside their records."""

from __future__ import annotations

import csv
import logging

import numpy as np
import pytest
import torch

from helpers.logit_runs import drawn, make_run
from simnl.results.evaluation import complete_logits, evaluate, evaluate_all
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.results.tables.metrics import evaluation_table
from simnl.runs.logits import FILE


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one setting with too sharp logits, and a target."""
    for seed in (1, 2):
        parts = {"test": drawn(seed, 300, 3.0), "selection": drawn(10 + seed, 200, 3.0), "target/new": drawn(9, 40)}
        make_run(tmp_path / f"seed{seed}", parts, seed=seed, config_hash="abc", targets={"new": 1.0})
    return tmp_path


def test_figures_before_and_after(runs):
    one = find_records([runs])[0]
    rows = list(evaluate(one))
    assert [(r["part"], r["calibrator"]) for r in rows] == [
        ("test", ""), ("test", "temperature"), ("new", ""), ("new", "temperature")
    ]  # fmt: skip
    before, after = rows[:2]
    logits, labels = drawn(1, 300, 3.0)
    p = logits.double().softmax(1)
    assert before["accuracy"] == pytest.approx(one["accuracy"])
    assert before["nll"] == pytest.approx(-p[range(300), labels].log().mean().item(), abs=1e-9)
    truth = torch.nn.functional.one_hot(labels, 5)
    assert before["brier"] == pytest.approx((p - truth).square().sum(1).mean().item(), abs=1e-9)
    assert after["accuracy"] == before["accuracy"]
    assert after["nll"] < before["nll"]
    assert after["ece"] < before["ece"]
    assert rows[2]["temperature"] == 1
    assert rows[3]["temperature"] == after["temperature"]  # fitted once


def test_the_layout_has_means_over_seeds(runs):
    (table,) = build("metrics", find_records([runs]), Request())
    (line,) = table.tidy
    singles = [next(evaluate(one)) for one in find_records([runs])]
    for name in ("accuracy", "nll", "ece", "macro_f1"):
        assert line[name] == pytest.approx(np.mean([s[name] for s in singles]))
    text = render_tables([table], "markdown", 400)
    assert "ECE/T" in text
    assert "Means over 2 seeds." in text
    assert f"{100 * line['ece']:.2f}" in text


def test_a_run_without_logits_is_named_and_left_out(runs, caplog):
    (runs / "seed2" / FILE).unlink()
    with caplog.at_level(logging.WARNING):
        (table,) = build("metrics", find_records([runs]), Request())
    assert f"{runs / 'seed2' / FILE} is not there. Compute its logits anew" in caplog.text
    assert table.tidy[0]["n"] == 1
    found, problems = evaluate_all(find_records([runs]), "none")
    assert len(found) == 2
    assert len(problems) == 1
    (runs / "seed1" / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="None of these runs has usable logits"):
        build("metrics", find_records([runs]), Request())


def test_nothing_is_computed_anew_without_a_head(runs):
    (runs / "seed2" / FILE).unlink()
    with pytest.raises(FileNotFoundError, match="config.yaml is missing"):
        complete_logits(find_records([runs]))


def test_csv_has_every_figure(runs):
    found, _ = evaluate_all(find_records([runs]), "isotonic")
    rows = list(csv.DictReader(render_tables([evaluation_table(found)], "csv", 0).splitlines()))
    assert len(rows) == 8
    assert {"ece10", "classwise_ece", "failure_auroc", "temperature"} <= set(rows[0])
    assert float(rows[0]["nll"]) == found[0][1]["nll"]
