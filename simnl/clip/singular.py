"""Singular values of a tower's weights: W = U diag(sigma) V^T, where only sigma is learned.

Each of the six matrices of a block is decomposed: queries, keys and values (three parts of the packed weight), the
output of attention, and both layers of the MLP. The signs of U and V, and their rotation at equal singular values,
differ between libraries; sigma, its gradient and the composed weight do not depend on them.

Source: Koleilat et al., "Singular Value Few-shot Adaptation of Vision-Language Models", arXiv:2509.03740.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from simnl.clip.towers import LearnedWeights

PACKED = "attn.in_proj_weight"
QUERIES_KEYS_VALUES = ("attn.q", "attn.k", "attn.v")
SINGLE = ("attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


class SingularValues(nn.Module):
    """The singular values of every block of a tower. Learned: `sigma.<block>.<matrix>`, min(rows, columns) numbers.

    Args:
        module: open_clip's module that holds the tower's `transformer`.
    """

    def __init__(self, module: Any):
        super().__init__()
        start = {}
        for number, block in enumerate(module.transformer.resblocks):
            parts = zip(QUERIES_KEYS_VALUES, block.attn.in_proj_weight.chunk(3), strict=True)
            matrices = {**dict(parts), **{name: block.get_parameter(name) for name in SINGLE}}
            for name, matrix in matrices.items():
                key = f"transformer.resblocks.{number}.{name}"
                u, start[key], v = torch.linalg.svd(matrix.detach().cpu().float(), full_matrices=False)
                self.register_buffer(f"u/{key}".replace(".", "/"), u, persistent=False)
                self.register_buffer(f"v/{key}".replace(".", "/"), v, persistent=False)
        self.sigma = LearnedWeights(start)

    def weights(self) -> dict[str, Tensor]:
        """The composed weights, by open_clip's names."""
        composed = {key: self._compose(key, sigma) for key, sigma in self.sigma.weights().items()}
        result = {key: value for key, value in composed.items() if key.endswith(SINGLE)}
        for key in composed:
            if key.endswith(QUERIES_KEYS_VALUES[0]):
                prefix = key.removesuffix(QUERIES_KEYS_VALUES[0])
                result[prefix + PACKED] = torch.cat([composed[prefix + name] for name in QUERIES_KEYS_VALUES])
        return result

    def _compose(self, key: str, sigma: Tensor) -> Tensor:
        u, v = (self.get_buffer(f"{side}/{key}".replace(".", "/")) for side in "uv")
        return (u * sigma) @ v
