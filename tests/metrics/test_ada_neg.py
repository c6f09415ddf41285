"""AdaNeg against the authors' own class on a stream of synthetic features."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.detection_golden import golden
from simnl.metrics.ada_neg import AdaNeg
from simnl.metrics.word_scores import grouped

SETTINGS = [(10, 0.5, 5, 23, 100.0), (3, 0.0, 3, 16, 30.0), (4, 0.5, 5, 16, 100.0)]


def make(recorded, memory, gap, groups, scale, weight=0.1) -> AdaNeg:
    count, text = int(recorded["num_classes"]), np.float64(recorded["text"])
    order = recorded[f"permutation/groups{groups}"]
    return AdaNeg(text[:count], text[count:], order, groups, scale, memory, 0.5, gap, weight)


@pytest.mark.parametrize(("memory", "gap", "groups", "batch", "scale"), SETTINGS)
def test_parity(memory, gap, groups, batch, scale):
    recorded = golden("adaneg")
    name = f"fixed_gap/samadaFalse/mem{memory}_gap{gap}_groups{groups}_combine_batch{batch}_s{scale:.0f}"
    if f"{name}/conf" not in recorded:  # this setting has the adapted score alone
        name, weight = name.replace("combine", "adaonly"), 0.0
    else:
        weight = 0.1
    found = make(recorded, memory, gap, groups, scale, weight)
    scores = found.scores(np.float64(recorded["stream"]), batch)
    np.testing.assert_allclose(scores, recorded[f"{name}/conf"], atol=1e-5)
    np.testing.assert_array_equal(found.next_place, recorded[f"{name}/next_slot"])
    np.testing.assert_allclose(found.entropies, recorded[f"{name}/memory_entropy"], atol=1e-5, rtol=1e-5)


def test_a_memory_without_images_is_neglabel():
    rng = np.random.default_rng(3)
    texts, images = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rng.normal(size=(9, 6)), rng.normal(size=(7, 6)))
    )
    order = np.arange(6)
    nothing = AdaNeg(texts[:3], texts[3:], order, 2, 10.0, 3, 0.5, 1.0, 0.0)  # nothing is sure
    logits = 10 * images @ texts.T
    np.testing.assert_allclose(nothing.scores(images, 4), grouped(logits[:, :3], logits[:, 3:], order, 2))
