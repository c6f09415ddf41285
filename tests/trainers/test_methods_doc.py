"""docs/methods.md has a row for every method with a script, with the number of parameters that its head really has."""

from __future__ import annotations

import re

import pytest
import torch

from helpers.e2e_tools import REPO
from helpers.methods import CLASSES, CLIP, METHODS, WIDTH, make_head
from simnl.runs.methods import method_of

SHOTS = 4
COLUMNS = ("method", "prediction", "learned", "parameters", "prompts", "source", "checked")
PAGE = (REPO / "docs" / "methods.md").read_text(encoding="utf-8")


def rows() -> dict[str, dict[str, str]]:
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(COLUMNS) and cells[0].startswith("`"):
            found[cells[0].strip("`")] = dict(zip(COLUMNS, cells, strict=True))
    return found


ROWS = rows()


def test_a_row_for_every_method_with_a_script_and_no_other():
    with_script = {method_of(path.parent.name) for path in REPO.glob("scripts/*/main.sh")}
    assert with_script <= set(ROWS) <= set(METHODS)


@pytest.mark.parametrize("method", ROWS)
def test_the_number_of_parameters(method):
    formula = ROWS[method]["parameters"]
    if formula == "see its docstring":
        assert method == "CLIPLoRA"  # counted in its own test
        return
    assert re.fullmatch(r"[CDKMQW0-9+*/() ]+", formula)
    head, task = make_head(method, SHOTS)
    letters = {"C": CLASSES, "D": WIDTH, "K": SHOTS, "W": CLIP.model.token_embedding.embedding_dim}
    letters["M"] = len(head.context) if hasattr(head, "context") else 0
    residual = getattr(head, "residual", None)  # a method of SimNL's head, which has no channels
    letters["Q"] = residual.shape[1] if isinstance(residual, torch.Tensor) else 0
    assert eval(formula, {"__builtins__": {}}, letters) == sum(p.numel() for p in head.parameters())


@pytest.mark.parametrize("method", ROWS)
def test_every_row_says_where_it_comes_from_and_how_it_was_checked(method):
    row = ROWS[method]
    assert re.search(r"arxiv.org/abs/\d{4}\.\d{5}", row["source"])
    assert row["checked"]
    assert row["learned"]
