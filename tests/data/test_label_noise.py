"""Label noise: how much, where, and the same for all draws of a run."""

from __future__ import annotations

import random
import shutil

import pytest

from helpers.detection_golden import golden
from simnl.data.draws import DrawSpec, Noise, draw


def test_noise_statistics(sampler, small_split):
    """1000 images, 5 classes, p = 0.3: 300 +- 4 deviations (of 14.5) change; no wrong label stands out."""
    split = small_split((200,) * 5, None)
    noise = Noise(0.3, 1, tuple(range(5)))
    drawn = draw(sampler, split, DrawSpec(200, 1, noise))
    wrong = [(item.label, label) for item, label in zip(drawn.train, drawn.labels, strict=True) if item.label != label]
    assert abs(len(wrong) - 300) < 58
    counts = [wrong.count((a, b)) for a in range(5) for b in range(5) if a != b]
    assert min(counts) > 0
    assert max(counts) < 4 * 300 / 20


def test_noise_of_an_image_is_the_same_in_all_draws_of_a_run(sampler, small_split):
    split = small_split((30,) * 4)
    noise = Noise(0.5, 1, tuple(range(4)))
    labels: dict[str, int] = {}
    for shots, seed in ((8, 1), (16, 2), (16, 3)):
        drawn = draw(sampler, split, DrawSpec(shots, seed, noise))
        assert drawn.train == draw(sampler, split, DrawSpec(shots, seed)).train
        for item, label in zip(drawn.train, drawn.labels, strict=True):
            assert labels.setdefault(item.path, label) == label
    other = draw(sampler, split, DrawSpec(16, 3, Noise(0.5, 2, tuple(range(4)))))
    assert other.labels != drawn.labels


def test_noise_grows_with_p(small_split):
    items = small_split((100,) * 3).train
    low, high = (Noise(p, 1, (0, 1, 2)) for p in (0.1, 0.4))
    for item in items:
        if low.relabel(item) != item.label:
            assert high.relabel(item) == low.relabel(item)
    assert all(Noise(0.0, 1, (0, 1, 2)).relabel(item) == item.label for item in items)
    assert all(Noise(1.0, 1, (0, 1, 2)).relabel(item) != item.label for item in items)
    with pytest.raises(ValueError, match="two classes"):
        Noise(0.1, 1, (0,))


def test_noise_touches_training_labels_only(trained, build, load, store):
    build(trained)
    clean, noisy = (load(trained, NUM_SHOTS=6, LABEL_NOISE=p) for p in (0.0, 0.9))
    assert [d.impath for d in noisy.train_x] == [d.impath for d in clean.train_x]
    assert noisy.clean_labels == [d.label for d in clean.train_x]
    assert [d.label for d in noisy.train_x] != noisy.clean_labels
    assert all(d.classname == noisy.lab2cname[d.label] for d in noisy.train_x)
    for part in ("val", "test"):
        labels = [[(d.impath, d.label) for d in getattr(data, part) or ()] for data in (clean, noisy)]
        assert labels[0] == labels[1]
    again = load(trained, NUM_SHOTS=6, LABEL_NOISE=0.9)
    assert [d.label for d in again.train_x] == [d.label for d in noisy.train_x]
    shutil.rmtree(store)
    anew = load(trained, NUM_SHOTS=6, LABEL_NOISE=0.9)  # what was stored follows from split, shots and seed alone
    assert [d.label for d in anew.train_x] == [d.label for d in noisy.train_x]
    assert (noisy.num_classes, noisy.classnames) == (clean.num_classes, clean.classnames)


@pytest.mark.parametrize("subset", ["base", "new"])
def test_noise_stays_within_the_kept_classes(subset, build, load):
    build("ImageNet")
    data = load("ImageNet", NUM_SHOTS=6, LABEL_NOISE=1.0, SUBSAMPLE_CLASSES=subset)
    assert [d.label for d in data.train_x] == [1 - label for label in data.clean_labels]


def test_classes_that_noise_has_emptied_still_count(build, load):
    build("Food101")
    for emptied in range(3):
        runs = (load("Food101", NUM_SHOTS=1, LABEL_NOISE=0.9, SEED=seed) for seed in range(1, 60))
        data = next(data for data in runs if emptied not in {d.label for d in data.train_x})
        assert (data.num_classes, data.classnames) == (3, ["apple_pie", "baklava", "tacos"])


def test_noise_with_the_whole_training_part(build, load):
    build("Food101")
    data = load("Food101", NUM_SHOTS=-1, LABEL_NOISE=1.0)
    assert len(data.train_x) == 18
    assert all(d.label != clean for d, clean in zip(data.train_x, data.clean_labels, strict=True))


def noise_by_hand(items: list, shots: int, p: float, count: int, seed: int) -> list[tuple[str, int]]:
    """The authors' ImageNet_N, straight: per class draw, then per image one number and maybe a choice."""
    generator = random.Random(seed)
    rows = []
    for label in range(count):
        for path, *_ in generator.sample([item for item in items if item[1] == label], shots):
            others = [other for other in range(count) if other != label]
            rows.append((path, generator.choice(others) if generator.random() < p else label))
    return rows


def test_official_noise_of_imagenet_interleaves(build, load, store, caplog):
    built = build("ImageNet")
    for seed in (1, 3407):
        data = load("ImageNet", NUM_SHOTS=4, LABEL_NOISE=0.4, PRESET="official", SEED=seed)
        expected = noise_by_hand(built.parts["train"], 4, 0.4, 4, seed)
        assert [(d.impath.partition("/images/")[2], d.label) for d in data.train_x] == expected
        assert data.clean_labels == [label for label in range(4) for _ in range(4)]
        other = load("ImageNet", NUM_SHOTS=4, LABEL_NOISE=0.4, PRESET="official", SEED=5, PROTOCOL="oracle-test")
        assert [d.label for d in other.draw_train(seed)] == [label for _, label in expected]
    assert len(list(store.rglob("*-noise_0.4-official-*.json"))) == 3
    assert "drawing again" not in caplog.text  # the seed of the run is not part of an official draw


@pytest.mark.parametrize("rule", ["exact", "next"])
def test_exact_rules_change_exactly_their_share(sampler, small_split, rule):
    split = small_split((30,) * 5)
    noise = Noise(0.3, 1, tuple(range(5)), rule=rule)
    drawn, clean = (draw(sampler, split, DrawSpec(8, 1, n)) for n in (noise, None))
    assert (drawn.train, drawn.val) == (clean.train, clean.val)  # labels are drawn after both
    wrong = [(a.label, b) for a, b in zip(drawn.train, drawn.labels, strict=True) if a.label != b]
    assert len(wrong) == 12
    if rule == "next":
        assert all(b == (a + 1) % 5 for a, b in wrong)
    assert draw(sampler, split, DrawSpec(8, 1, noise)).labels == drawn.labels
    assert draw(sampler, split, DrawSpec(8, 2, noise)).labels != drawn.labels
    assert "-exact" in DrawSpec(8, 1, Noise(0.3, 1, (0, 1), rule="exact")).file_name


def test_classes_that_are_left_out_keep_their_labels(sampler, small_split):
    noise = Noise(0.5, 1, (0, 1, 2), rule="next")
    drawn = draw(sampler, small_split((30,) * 5), DrawSpec(4, 1, noise))
    pairs = [(item.label, label) for item, label in zip(drawn.train, drawn.labels, strict=True)]
    assert sum(a != b for a, b in pairs) == 6
    assert {b for a, b in pairs if a != b} <= {0, 1, 2}
    with pytest.raises(ValueError, match=r"NOISE_RULE is 'pair'. Choose one of bernoulli, exact, next"):
        Noise(0.5, 1, (0, 1), rule="pair")


def test_parity_with_nlprompt():
    """The labels, and the next number of the stream, of NLPrompt's own function after the same seed."""
    tensors, compared = golden("noise"), 0
    labels = tensors["nlprompt_noise/labels"].tolist()
    for kind, rule in (("sym", "exact"), ("asym", "next")):
        for rate in (0.125, 0.25, 0.5, 0.75, 0.9):
            for seed in (1, 2):
                name = f"nlprompt_noise/{kind}/rate{rate}/seed{seed}"
                state = random.getstate()
                random.seed(seed)
                found = Noise(rate, 0, tuple(range(max(labels) + 1)), rule=rule).wrong_labels(labels)
                following = random.random()
                random.setstate(state)
                assert found == tensors[name].tolist()
                assert following == float(tensors[f"{name}/next_random"])
                compared += 1
    assert compared == 20
