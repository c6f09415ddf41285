"""The notebook runs offline, from its first cell to its last."""

from __future__ import annotations

import json
import re
import sys

import matplotlib
import numpy as np
import pytest

from helpers.e2e_tools import REPO

NOTEBOOK = json.loads((REPO / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The names that the cells define, after all have run in an empty folder."""
    matplotlib.use("Agg", force=True)
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("work"))
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))
    names: dict = {}
    patch.setattr(sys, "path", [*sys.path])
    for number, source in enumerate(CODE):
        exec(compile(source, f"quickstart.ipynb, cell {number}", "exec"), names)
    names["plt"].close("all")
    patch.undo()
    return names


def test_what_it_shows(executed):
    simnl, zero_shot = executed["simnl"], executed["zero_shot"]
    test, labels = executed["test"], executed["test_labels"]
    assert simnl.score(test, labels) > zero_shot.score(test, labels) + 0.1
    assert executed["again"].predict(test).tolist() == simnl.predict(test).tolist()
    np.testing.assert_allclose(sum(simnl.evidence(test).values()), simnl.logits(test), atol=1e-3)


def test_its_form():
    """No output is kept in the repository, and every kind of cell has what the format demands."""
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    for cell in NOTEBOOK["cells"]:
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
