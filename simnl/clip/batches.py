"""Batches of one fixed size, so that a row does not depend on the other rows that are encoded with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def in_fixed_batches(encode: Callable[[Tensor], Tensor], inputs: Tensor, rows: int) -> Tensor:
    """Encode in batches of exactly `rows`. The last batch is filled up with copies of its first row.

    Args:
        encode: a function of (rows, ...) that gives (rows, D).
        inputs: (n, ...), n > 0.
        rows: the number of rows of each batch.

    Returns:
        (n, D).
    """
    features = []
    for part in inputs.split(rows):
        padding = part[:1].expand(rows - len(part), *part.shape[1:])
        batch = torch.cat([part, padding]) if len(part) < rows else part
        features.append(encode(batch)[: len(part)])
    return features[0] if len(features) == 1 else torch.cat(features)


def whole_batches(parts: Iterable[tuple[list, Tensor]], rows: int) -> Iterator[tuple[list, Tensor]]:
    """Regroup batches of any lengths into batches of one length.

    Args:
        parts: pairs (keys, inputs (n, ...)) of any n > 0.
        rows: the number of rows of each batch.

    Yields:
        The same keys and inputs in the same order, `rows` at a time; the last batch may be short.
    """
    keys: list = []
    held: list[Tensor] = []
    for some, pixels in parts:
        keys, held = keys + some, [*held, pixels]
        while len(keys) >= rows:
            pixels = torch.cat(held) if len(held) > 1 else held[0]
            yield keys[:rows], pixels[:rows]
            keys, held = keys[rows:], [pixels[rows:]] if len(pixels) > rows else []
    if keys:
        yield keys, torch.cat(held)
