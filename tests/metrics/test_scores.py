"""Scores of known classes against naive loops and five repositories."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.detection_golden import golden, unit
from simnl.metrics import scores, word_scores


def softmax_row(row, temperature=1.0) -> list[float]:
    parts = [math.exp((x - max(row)) / temperature) for x in row]
    return [x / sum(parts) for x in parts]


def test_naive_loops():
    rng = np.random.default_rng(5)
    cosines = rng.uniform(-1, 1, (20, 6))
    logits = 17.0 * cosines
    found = {name: score(logits, 17.0) for name, score in scores.LOGIT_SCORES.items()}
    for i, row in enumerate(logits.tolist()):
        sharp, soft = softmax_row(row), softmax_row(cosines[i].tolist())
        assert found["msp"][i] == pytest.approx(max(sharp), abs=1e-12)
        assert found["mcm@T1"][i] == pytest.approx(max(soft), abs=1e-12)
        assert found["maxlogit"][i] == max(row)
        assert found["energy"][i] == pytest.approx(math.log(sum(map(math.exp, row))), abs=1e-9)
        assert found["entropy@T1"][i] == pytest.approx(sum(p * math.log(p) for p in soft), abs=1e-12)


def test_the_two_conventions_of_temperature():
    cosines = np.random.default_rng(0).uniform(-1, 1, (30, 5))
    np.testing.assert_allclose(scores.mcm(cosines, 0.01), scores.msp(100 * cosines), atol=1e-6)
    assert np.isfinite(scores.energy(1e4 * cosines)).all()
    assert np.isfinite(scores.negative_entropy(1e4 * cosines)).all()


@pytest.fixture(scope="module")
def features():
    tensors = golden("scores")
    sides = {side: unit(tensors[f"{side}_raw"]) for side in ("id", "near", "far", "noise")}
    return tensors, sides, unit(tensors["text_raw"]), unit(tensors["text_no_raw"])


def ours(parts: list[str], image: np.ndarray, text: np.ndarray, no: np.ndarray):
    cosines = image @ text.T
    logits, denied = 100 * cosines, 100 * image @ no.T
    if parts[0] == "mcm_repo":  # smaller = known there
        t = float(parts[3][1:])
        by_name = {
            "MCM": scores.mcm,
            "energy": scores.energy,
            "entropy": scores.negative_entropy,
        }
        if parts[2] == "var":
            return None
        return -(scores.maxlogit(cosines) if parts[2] == "max-logit" else by_name[parts[2]](cosines, t))
    if parts[0] == "openood_repo" and parts[-1] == "conf":
        if parts[2] in ("MLS", "MSP"):
            return scores.maxlogit(logits) if parts[2] == "MLS" else scores.msp(logits)
        return (
            scores.energy(logits, float(parts[3][1:])) if parts[2] == "EBO" else scores.msp(logits, float(parts[3][3:]))
        )
    if parts[0].startswith("clipn") and parts[2] in ("CTW", "ATD"):
        return (scores.yes_of_best if parts[2] == "CTW" else scores.yes_on_average)(logits, denied)
    return None


def test_parity(features):
    tensors, sides, text, no = features
    compared = 0
    for key, expected in tensors.items():
        parts = key.split("/")
        found = ours(parts, sides[parts[1]], text, no) if len(parts) > 2 and parts[1] in sides else None
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=5e-6, rtol=1e-5, err_msg=key)
            compared += 1
    assert compared == 28 + 24 + 12


def test_parity_of_patches(features):
    tensors, sides, text, _ = features
    compared = 0
    for key, expected in tensors.items():
        base, _, rest = key.partition("/")
        side, _, rest = rest.partition("/")
        kind, *more = rest.split("/")
        if base in ("glmcm_repo", "locoop_repo") and kind != "MCM":
            t, weight = (float(more[0][1:]), float(more[1].removeprefix("lambda"))) if more else (1.0, 1.0)
            patches = unit(tensors[f"{side}_local_raw"]).reshape(len(sides[side]), -1, text.shape[1])
            found = weight * scores.local_mcm(patches @ text.T, t)
            found = found + scores.mcm(sides[side] @ text.T, t) if kind == "GL-MCM" else found
            np.testing.assert_allclose(-found, expected, atol=1e-5, err_msg=key)
            compared += 1
    assert compared == 10


def test_parity_of_words():
    tensors = golden("neglabel")
    sides = {side: unit(tensors[f"{side}_raw"]) for side in ("id", "near", "far")}
    averaged = {kind: unit(np.float64(tensors[f"csp/{kind}_raw"]).mean(axis)) for kind, axis in
                (("pos", 0), ("noun", 1), ("adj", 1))}  # fmt: skip
    plain = {kind: unit(tensors[f"neglabel/{kind}_raw"]) for kind in ("pos", "noun", "adj")}
    compared = 0
    for base, texts, ceiling in (("neglabel", plain, None), ("csp", averaged, 0.95)):
        for share in (0.15, 0.5):
            name, classes = f"{base}/topk{share}", texts["pos"]
            words = [
                texts[k][word_scores.farthest(word_scores.nearness(texts[k], classes, ceiling), share)]
                for k in ("noun", "adj")
            ]
            assert len(words[0]) == tensors[f"{name}/num_noun"]
            kept = np.concatenate(words)
            np.testing.assert_allclose(kept, tensors[f"{name}/text_neg"], atol=3e-7)
            for groups, temperature in ((7, 1.0), (3, 2.0)):
                order = tensors[f"{name}/groups{groups}/permutation"]
                assert len(order) == len(word_scores.grouping(len(kept), groups))
                for side, image in sides.items():
                    found = word_scores.grouped(
                        100 * image @ classes.T, 100 * image @ kept.T, order, groups, temperature
                    )
                    expected = tensors[f"{name}/groups{groups}_fuseNone_t{temperature:.0f}/{side}"]
                    np.testing.assert_allclose(found, expected, atol=5e-6)
                    compared += 1
    assert compared == 24


def test_words_inside_a_group_have_no_order():
    rng = np.random.default_rng(2)
    known, words = 10 * rng.normal(size=(5, 4)), 10 * rng.normal(size=(5, 12))
    order = word_scores.grouping(12, 3)
    assert sorted(order) == list(range(12))
    turned = order.reshape(3, 4)[:, ::-1].ravel()
    np.testing.assert_allclose(
        word_scores.grouped(known, words, order, 3), word_scores.grouped(known, words, turned, 3), atol=1e-12
    )
    naive = [
        np.mean([
            np.exp(k).sum() / (np.exp(k).sum() + np.exp(w[group]).sum()) for group in order.reshape(3, 4)
        ]) for k, w in zip(known, words, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(word_scores.grouped(known, words, order, 3), naive, atol=1e-9)
    assert len(word_scores.grouping(14, 3)) == 12  # the last 14 mod 3 words are left out
