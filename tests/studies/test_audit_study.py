"""The study `audit`: which protocols a data set and a number of shots allow."""

from __future__ import annotations

import pytest

from simnl.results.plots.of_records import RECORD_KINDS
from simnl.studies.cells import Plan, Setup
from simnl.studies.definitions import STUDIES


@pytest.mark.parametrize(("dataset", "full_val"), [("shapes", True), ("imagenet", False)])
def test_protocols_are_those_that_the_data_set_allows(dataset, full_val):
    variants = list(STUDIES["audit"].variants(Setup(), Plan("TipAdapter", dataset, 16)))
    assert {v.options for v in variants} == {("PROTOCOL", v.name) for v in variants}
    names = [variant.name for variant in variants]
    assert ("full-val" in names) is full_val
    assert {"no-val", "fewshot-val", "oracle-test"} <= set(names)


def test_studies_with_a_figure_are_those_that_plot_draws():
    assert {name for name, study in STUDIES.items() if study.figure} == set(STUDIES) & set(RECORD_KINDS)
