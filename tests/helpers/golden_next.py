"""Golden tensors of the second set (TIMO, ReHARK, TransCLIP, TDA): inputs of the first set and a few more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.golden import REPO, Golden

SHARED = REPO.parent / "shared" / "golden_next"
BUNDLED = REPO / "tests" / "goldens" / "next.safetensors"  # a part of K = 4: the suite proves itself without SHARED
ROWS = 100  # of the bundled logits: those of the first test images


class NextGolden(Golden):
    """Inputs of both sets, and what the authors' code of one method computes from them.

    setting: `bundled-4` or `shared-<shots>`; name: of the file, such as `timo_K{shots}`; bundled: where its part is.
    """

    def __init__(self, setting: str, name: str, bundled: Path = BUNDLED):
        super().__init__(setting)
        if setting.startswith("bundled"):
            both = load_file(bundled)
        elif SHARED.is_dir():
            both = load_file(SHARED / "inputs_next.safetensors")
            both |= load_file(SHARED / f"{name.format(shots=self.shots)}.safetensors")
        else:
            pytest.skip(f"{SHARED} is not here: only the bundled part of the golden (K = 4) is checked")
        self.inputs |= {k.removeprefix("inputs/"): v for k, v in both.items() if k.startswith("inputs/")}
        self.outputs = {k: v for k, v in both.items() if not k.startswith("inputs/")}

    @property
    def labels(self) -> torch.Tensor:
        """Of the K-shot images, (N,) int64."""
        return self.inputs[f"labels_K{self.shots}"].long()

    @property
    def cache_keys(self) -> torch.Tensor:
        """Unit rows, (N, D)."""
        return self.inputs[f"cache_keys_K{self.shots}"].T.contiguous()

    def split(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit features (M, D) and labels (M,) int64 of `val` or `test`."""
        return self.inputs[name], self.inputs[f"y_{name}"].long()

    def check(self, ours: torch.Tensor, name: str, tolerance: float) -> None:
        """Compare with an output of the authors' code; of the bundled part, with as many rows as are there."""
        theirs = self.outputs[name]
        torch.testing.assert_close(ours[: len(theirs)].to(theirs.dtype), theirs, atol=tolerance, rtol=0)
