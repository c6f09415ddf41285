"""docs/methods.md has the row of every method with a script, with the number of parameters that its head really has."""

from __future__ import annotations

import re

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.e2e_tools import REPO
from helpers.methods import CLASSES, CLIP, HIDDEN_CLIP, METHODS, WIDTH, make_head
from simnl.runs.method_table import PAGE, filled, rows
from simnl.runs.methods import method_of

SHOTS = 4
ROWS = rows()


def test_the_page_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "Run: python tools/methods.py"


def test_a_row_for_every_method_with_a_script_and_no_other():
    with_script = {method_of(path.parent.name) for path in REPO.glob("scripts/*/main.sh")}
    assert with_script <= set(ROWS) <= set(METHODS)


@pytest.mark.parametrize("method", ROWS)
def test_the_number_of_parameters(method):
    formula = ROWS[method]["parameters"]
    if formula == "see its docstring":
        assert not TRAINER_REGISTRY.get(method).image_encoder_frozen  # depends on the tower: counted in its own test
        return
    assert re.fullmatch(r"[CDHKMQRW0-9+*/() ]+", formula)
    head, task = make_head(method, SHOTS)
    letters = {"C": CLASSES, "D": WIDTH, "K": SHOTS, "W": CLIP.model.token_embedding.embedding_dim}
    letters["H"] = HIDDEN_CLIP.image_dim
    letters["R"] = len(head.unmix) if hasattr(head, "unmix") else 0
    letters["M"] = len(head.context) if hasattr(head, "context") else 0
    residual = getattr(head, "residual", None)  # a method of SimNL's head, which has no channels
    letters["Q"] = residual.shape[1] if isinstance(residual, torch.Tensor) else 0
    assert eval(formula, {"__builtins__": {}}, letters) == sum(p.numel() for p in head.parameters())
