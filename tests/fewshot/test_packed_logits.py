"""What is kept of logits, and how exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simnl.fewshot.packed_logits import LARGE, PackedLogits, unpacked


def collected(logits: torch.Tensor, limit: int = 2**30, batch: int = 7):
    kept = PackedLogits(*logits.shape, limit)
    for rows in logits.split(batch):
        kept.add(rows)
    return kept.part(torch.arange(len(logits)) % logits.shape[1])


def test_few_classes_are_kept_to_the_bit():
    logits = 100 * torch.randn(20, LARGE, generator=torch.Generator().manual_seed(0))
    part = collected(logits)
    assert set(part) == {"logits", "labels"}
    assert torch.equal(unpacked(part), logits.double())
    assert part["labels"].dtype == torch.int32


def test_many_classes_are_kept_as_distances_from_the_largest():
    logits = 25 * torch.randn(50, LARGE + 1, generator=torch.Generator().manual_seed(0)) + 30
    logits[0, 5] = -1e9
    part, exact = collected(logits), logits.double()
    again = unpacked(part)
    assert part["logits"].dtype == torch.float16
    assert torch.equal(again.argmax(1), exact.argmax(1))
    assert torch.equal(again.max(1).values, exact.max(1).values)
    distance = exact.max(1, keepdim=True).values - exact
    error = (again - exact).abs()
    assert (error[distance < 6e4] <= distance[distance < 6e4] * 2**-11 + 1e-6).all()
    probabilities = [rows.softmax(1).numpy() for rows in (again, exact)]
    np.testing.assert_allclose(*probabilities, atol=1e-3)
    assert again[0, 5] == pytest.approx(exact[0].max() - 65504, abs=1)


def test_what_is_too_large_is_not_kept():
    logits = torch.zeros(10, 4)
    assert collected(logits, limit=159) is None
    assert collected(logits, limit=160) is not None
    assert PackedLogits(50_000, 1000, 2**27).nbytes == 50_000 * 2004


def test_the_number_of_images_must_agree():
    kept = PackedLogits(3, 2, 1000)
    kept.add(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="2 logits and 3 labels of 3 images"):
        kept.part(torch.zeros(3))
