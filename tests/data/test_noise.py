"""Label noise: how much, where, and the same for all draws of a run."""

from __future__ import annotations

import random
import re
import shutil

import numpy as np
import pytest

from helpers.detection_golden import golden
from simnl.data.draws import DrawSpec, draw
from simnl.data.noise import FOREIGN, Noise, by_instance, confused, foreign_draw, noisy_selection, some_places
from simnl.data.splits import Item
from simnl.data.wrong_labels import read_pairs


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
    with pytest.raises(ValueError, match=r"NOISE_RULE is 'pair'. Choose one of bernoulli, exact, next, confus"):
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


@pytest.mark.parametrize("rule", FOREIGN)
def test_foreign_images_stand_in_for_their_share_of_each_class(sampler, small_split, rule):
    split = small_split((30,) * 5)
    drawn = draw(sampler, split, DrawSpec(8, 1, Noise(0.5, 1, tuple(range(5)), rule=rule)))
    assert drawn.labels == [label for label in range(5) for _ in range(8)]
    wrong = [(item.label, label) for item, label in zip(drawn.train, drawn.labels, strict=True) if item.label != label]
    assert [sum(label == given for _, given in wrong) for label in range(5)] == [4] * 5
    if rule == "foreign-next":
        assert all(true == (given + 1) % 5 for true, given in wrong)  # the other way round than `next`
    assert not {item.path for item in drawn.train} & {item.path for item in drawn.val}
    kept = draw(sampler, split, DrawSpec(8, 1, Noise(0.5, 1, (0, 1, 2), rule=rule)))
    assert {item.label for item in kept.train} == {0, 1, 2}


def test_too_few_foreign_images_are_told():
    with pytest.raises(ValueError, match=r"class 0 needs 2 images of other classes, and 0 are left"):
        foreign_draw([0, 1], 2, 2, 1, "foreign")


def test_parity_with_joapr():
    """Images and labels of JoAPR's own function, in order. Where a draw cannot be had there, there is no golden."""
    tensors, compared = golden("noise"), 0
    pool = tensors["joapr_noise/pool_labels"].tolist()
    for name in [name for name in tensors if name.startswith("joapr_noise/") and name.endswith("/index")]:
        kind, *parts = name.split("/")[1:5]
        count, shots, seed = (int(re.sub(r"\D", "", part)) for part in parts)
        state = random.getstate()
        random.seed(seed)
        rule = {"symflip": "foreign", "pairflip": "foreign-next"}[kind]
        drawn = foreign_draw(pool, shots, count, seed, rule)
        random.setstate(state)
        assert [place for places in drawn.values() for place in places] == tensors[name].tolist()
        assert [label for label, places in drawn.items() for _ in places] == tensors[f"{name[:-5]}label"].tolist()
        compared += 1
    assert compared == 18


def test_confusable_labels_are_nested_and_as_many_as_asked_for():
    labels, others = [c for c in range(4) for _ in range(5)], [3, 2, 1, 0]
    low, high = (confused(labels, others, share, "a key") for share in (0.3, 0.6))
    for share, new in ((0.3, low), (0.6, high)):
        wrong = [(old, now) for old, now in zip(labels, new, strict=True) if old != now]
        assert len(wrong) == int(share * 20)
        assert all(now == others[old] for old, now in wrong)
    assert all(b == a for old, a, b in zip(labels, low, high, strict=True) if a != old)
    assert some_places(20, 0.3, "a key") != some_places(20, 0.3, "another")


def test_confusable_labels_of_a_data_set(build, load, tmp_path):
    """By pairs from a file; told again, nothing changes."""
    build("Food101")
    pairs = tmp_path / "pairs.json"
    pairs.write_text('{"apple pie": "tacos", "baklava": "tacos", "tacos": "baklava"}')
    data = load("Food101", NUM_SHOTS=6, LABEL_NOISE=0.5, NOISE_RULE="confusable", NOISE_PAIRS=str(pairs))
    assert data.needs_confusions()
    assert [d.label for d in data.train_x] == data.clean_labels
    data.confuse(data.given_confusions())
    labels = [d.label for d in data.train_x]
    wrong = [(a, b) for a, b in zip(data.clean_labels, labels, strict=True) if a != b]
    assert len(wrong) == 9
    assert set(wrong) <= {(0, 2), (1, 2), (2, 1)}
    assert not data.needs_confusions()
    data.confuse(data.given_confusions())
    assert [d.label for d in data.train_x] == labels
    assert len(data.draw_train(5)) == 18


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": "b"}', "'b' has no pair"),
        ('{"a": "b", "b": "b"}', "'b' is paired with 'b', which is not another class"),
        ('{"a": "c", "b": "a"}', "'a' is paired with 'c'"),
        ('["a"]', "must hold json of class -> other class"),
        ("{", "NOISE_PAIRS: "),
    ],
)
def test_broken_pairs_are_told(tmp_path, text, why):
    path = tmp_path / "pairs.json"
    with pytest.raises(FileNotFoundError, match="no file"):
        read_pairs(path, ["a", "b"])
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_pairs(path, ["a", "b"])
    path.write_text('{"b": "a", "a": "b"}')
    assert read_pairs(path, ["a", "b"]) == [1, 0]


@pytest.mark.parametrize("rule", ["bernoulli", "exact", "next", "confusable", *FOREIGN])
def test_selection_images_get_wrong_labels_of_their_own(rule):
    """The share and the direction of each rule; the same for the same key."""
    items = [Item(f"{c}/{i}.jpg", c, str(c)) for c in range(5) for i in range(40)]
    noise, others = Noise(0.25, 1, tuple(range(5)), rule=rule), [1, 0, 3, 4, 2]
    new = noisy_selection(items, noise, others, "1/val")
    assert new == noisy_selection(items, noise, others, "1/val")
    wrong = [(item.label, label) for item, label in zip(items, new, strict=True) if item.label != label]
    assert 30 < len(wrong) < 70 if rule == "bernoulli" else len(wrong) == 50
    direction = {"next": lambda c: (c + 1) % 5, "foreign-next": lambda c: (c - 1) % 5, "confusable": others.__getitem__}
    if rule in direction:
        assert all(b == direction[rule](a) for a, b in wrong)
    if rule in FOREIGN:
        assert [sum(a == c for a, _ in wrong) for c in range(5)] == [10] * 5


def test_noisy_selection_is_an_option_and_test_labels_stay(build, load):
    build("Food101")
    settings = {"NUM_SHOTS": 4, "LABEL_NOISE": 1.0}
    clean, noisy = load("Food101", **settings), load("Food101", **settings, NOISY_SELECTION=True)
    assert [d.label for d in clean.for_selection(clean.val, "val")] == [d.label for d in clean.val]
    labels = [d.label for d in noisy.for_selection(noisy.val, "val")]
    assert all(a != d.label for a, d in zip(labels, noisy.val, strict=True))
    assert [d.label for d in noisy.test] == [d.label for d in clean.test]


def test_labels_that_depend_on_the_image():
    """The rates and the choice of `instance`, by a loop of its own; nested in the share, the same in any order."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3000, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels, paths = [i % 4 for i in range(3000)], [f"{i}.jpg" for i in range(3000)]
    low, high = (np.array(by_instance(features, labels, paths, 4, share, 7)) for share in (0.3, 0.5))
    wrong = high != labels
    assert abs(wrong.mean() - 0.5) < 0.03  # three standard deviations
    assert ((low == labels) | (low == high)).all()
    back = by_instance(features[::-1], labels[::-1], paths[::-1], 4, 0.5, 7)
    assert back[::-1] == high.tolist()
    assert by_instance(features, labels, paths, 4, 0.5, 8) != high.tolist()
    for y in range(4):  # the shares of the new labels are those that the features say
        rows = wrong & (np.array(labels) == y)
        scores = np.exp(features[rows] @ np.random.default_rng([7, y]).standard_normal((8, 4)))
        scores[:, y] = 0
        expected = (scores / scores.sum(1, keepdims=True)).mean(0)
        found = np.bincount(high[rows], minlength=4) / rows.sum()
        assert abs(found - expected).max() < 0.08
        assert found[y] == 0
    right = [softmax_of(features[i], labels[i])[high[i]] for i in np.flatnonzero(wrong)]
    assert np.mean(right) > 0.4  # a choice by chance has a third


def softmax_of(row, label) -> np.ndarray:
    scores = np.exp(row @ np.random.default_rng([7, label]).standard_normal((8, 4)))
    scores[label] = 0
    return scores / scores.sum()
