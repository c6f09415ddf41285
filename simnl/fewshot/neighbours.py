"""Nearest neighbours by cosine, as a sparse matrix of affinities with a few entries per row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_NUMBERS = 2**25  # the size of a temporary (rows, columns) tensor of cosines


class Affinity(NamedTuple):
    """A sparse matrix W of k entries per row: columns (R, k) int64 and values (R, k)."""

    columns: Tensor
    values: Tensor

    def times(self, dense: Tensor) -> Tensor:
        """W Z, (R, C), of Z (columns, C)."""
        parts = (value[:, None] * dense[column] for column, value in zip(self.columns.T, self.values.T, strict=True))
        return torch.stack(list(parts)).sum(0)

    def transposed_times(self, dense: Tensor, num_columns: int) -> Tensor:
        """W' Z, (columns, C), of Z (R, C)."""
        result = dense.new_zeros(num_columns, dense.shape[1])
        for column, value in zip(self.columns.T, self.values.T, strict=True):
            result.index_add_(0, column, value[:, None] * dense)
        return result


def nearest(rows: Tensor, candidates: Tensor, number: int, skip: int = 0) -> Affinity:
    """The candidates with the largest cosines, in blocks of rows.

    Args:
        rows: unit rows, (R, D).
        candidates: unit rows, (M, D).
        number: k, at most M - skip.
        skip: how many of the nearest candidates are left out (1 if a row is itself a candidate).
    """
    step = max(1, BLOCK_NUMBERS // len(candidates))
    parts = [(block @ candidates.T).topk(number + skip, dim=1) for block in rows.split(step)]
    values, columns = (torch.cat([part[place] for part in parts])[:, skip:] for place in (0, 1))
    return Affinity(columns, values)
