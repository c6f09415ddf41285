"""Golden scores and figures of other repositories' own functions on synthetic features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

REPO = Path(__file__).resolve().parents[2]
SHARED = REPO.parent / "shared" / "golden_ood"
BUNDLED = REPO / "tests" / "goldens" / "detection"  # a part of the same: the suite proves itself without SHARED


def golden(name: str) -> dict[str, np.ndarray]:
    """The tensors of a part: all of them, or those that are bundled; skips where neither is here."""
    for folder in (SHARED, BUNDLED):
        if (folder / f"{name}.safetensors").is_file():
            return load_file(folder / f"{name}.safetensors")
    pytest.skip(f"{SHARED} is not here, and of '{name}' nothing is bundled")


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64."""
    rows = np.float64(rows)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
