"""Wrong training labels: the rules of the field, by name.

    bernoulli      each label with probability p; the new one is a uniform choice of the others     SimNL
    exact          floor(p N) of all N images; the new label is a uniform choice of the others      NLPrompt, symmetric
    next           as many; the new label is the next class, and the first after the last           NLPrompt, asymmetric
    confusable     as many; the new label is the class that is easiest to take for the true one     ours
    instance       each with a probability near p; the image decides on the new label               DeFT, on features
    foreign        labels stay, and floor(p K) of the K images of a class are images of others      JoAPR, symmetric
    foreign-next   as many are images of the next class, of the first for the last                  JoAPR, pairs

`next` and `foreign-next` point in opposite directions: an image of c is called c + 1, or an image of c + 1 is called c.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from simnl.config_names import check_choice
from simnl.data.splits import Item

Floats = NDArray[np.float64]
Rule = Literal["bernoulli", "exact", "next", "confusable", "instance", "foreign", "foreign-next"]
RULES: tuple[Rule, ...] = get_args(Rule)
CONFUSABLE: Rule = "confusable"
INSTANCE: Rule = "instance"
AFTER_DRAW: tuple[Rule, ...] = (CONFUSABLE, INSTANCE)
SPREAD = 0.1  # of the probabilities of `instance`, as in DeFT's code
FOREIGN: tuple[Rule, ...] = ("foreign", "foreign-next")


@dataclass(frozen=True)
class Noise:
    """A share `p` of wrong training labels, by one of `RULES`.

    Of `bernoulli`, repaired: whether and how an image's label changes follows from `seed` and the image's path alone.
    So every draw of a run sees the same wrong label on an image, and a higher `p` keeps the wrong labels of a lower
    one; the other rules depend on the images that were drawn. `interleaved` is the authors' rule instead (ImageNet_N):
    the decisions come from the stream that draws the images, image by image after each class's draw; `seed` is not
    used. `confusable` and `instance` are no part of a draw, because the model says which classes are alike, and what an
    image looks like; see `confused` and `by_instance`.
    """

    p: float
    seed: int
    labels: tuple[int, ...]
    interleaved: bool = False
    rule: str = RULES[0]

    def __post_init__(self) -> None:
        check_choice("DATASET.NOISE_RULE", self.rule, RULES)
        if not 0 <= self.p <= 1:
            raise ValueError(f"DATASET.LABEL_NOISE must be a probability between 0 and 1, not {self.p}.")
        if len(self.labels) < 2:
            raise ValueError("DATASET.LABEL_NOISE needs at least two classes, because a wrong label is another class.")

    def relabel(self, item: Item) -> int:
        """The label of `item` under the repaired rule."""
        return self._decide(item.label, random.Random(f"{self.seed}/{item.path}"))

    def wrong_labels(self, labels: Sequence[int]) -> list[int]:
        """Labels under the rules `exact` and `next`, drawn from the global stream as NLPrompt's code draws them.

        All positions are shuffled; the first floor(p N) of them are changed, in the order of the images. Labels of
        classes that the run leaves out stay as they are and do not count.
        """
        places = [i for i, label in enumerate(labels) if label in self.labels]
        order, new = list(range(len(places))), list(labels)
        random.shuffle(order)
        chosen = set(order[: int(self.p * len(places))])
        for number, i in enumerate(places):
            if number in chosen:
                new[i] = self._next(labels[i]) if self.rule == "next" else self._other(labels[i])
        return new

    def _next(self, label: int) -> int:
        return self.labels[(self.labels.index(label) + 1) % len(self.labels)]

    def _other(self, label: int) -> int:
        while True:
            new = self.labels[random.randint(0, len(self.labels) - 1)]
            if new != label:
                return new

    def _decide(self, label: int, generator: Any) -> int:
        """A label under the repaired rule. `generator` is a `random.Random`, or the module for the global stream."""
        if label not in self.labels or generator.random() >= self.p:
            return label
        other = generator.choice(range(len(self.labels) - 1))  # one call, as for a list without `label`
        return self.labels[other + (other >= self.labels.index(label))]

    def draw_interleaved(self, items: Sequence[Item], shots: int) -> tuple[list[Item], list[int]]:
        """Images and labels by the authors' rule from the global stream: for each class, draw and then decide."""
        drawn, labels = [], []
        for group in _by_class(items).values():
            chosen = random.sample(group, shots) if len(group) >= shots else group
            drawn += chosen
            labels += [self._decide(item.label, random) for item in chosen]
        return drawn, labels

    def draw_foreign(self, items: Sequence[Item], shots: int, seed: int) -> tuple[list[Item], list[int]]:
        """Images and labels under the rules `foreign` and `foreign-next`: K of each class, some of other classes.

        The first half of a class's images are its own; the others may be used as images of other classes. The images
        are drawn from the global stream and from numpy's generator of the seed, as in JoAPR's code. A class with fewer
        own images than K has some of them twice. Images of classes that the run leaves out are not drawn.
        """
        kept = [item for item in items if item.label in self.labels]
        drawn = foreign_draw([item.label for item in kept], shots, int(self.p * shots), seed, self.rule)
        rows = [(kept[place], label) for label, places in drawn.items() for place in places]
        return [item for item, _ in rows], [label for _, label in rows]


def foreign_draw(labels: Sequence[int], shots: int, count: int, seed: int, rule: str) -> dict[int, list[int]]:
    """Positions of the images of each class, `count` of which are of other classes, in the order of the authors' code.

    Python's global stream must be seeded. The order of `foreign` is that of CPython's sets of whole numbers.

    Raises:
        ValueError: the other classes do not have enough images left.
    """
    places: dict[int, list[int]] = {label: [] for label in sorted(set(labels))}
    for place, label in enumerate(labels):
        places[label].append(place)
    own = {label: rows[: -(-len(rows) // 2)] for label, rows in places.items()}
    rest = {label: rows[-(-len(rows) // 2) :] for label, rows in places.items()}
    pick = _any_foreign(rest, count) if rule == "foreign" else _next_foreign(own, rest, count)
    generator, drawn = np.random.default_rng(seed), {}
    for label, pool in own.items():
        foreign = pick(label)
        if len(foreign) < count:
            raise ValueError(
                f"DATASET.NOISE_RULE {rule}: class {label} needs {count} images of other classes, and {len(foreign)} "
                "are left of those that are set aside for this. Lower DATASET.LABEL_NOISE or the number of shots."
            )
        chosen = generator.choice(len(pool), shots, replace=len(pool) < shots)
        drawn[label] = [*foreign, *(pool[i] for i in chosen[count:])]
    return drawn


def _any_foreign(rest: dict[int, list[int]], count: int) -> Callable[[int], list[int]]:
    """Images of other classes that no class has used before. A class may have one of them twice."""
    everything = {place for rows in rest.values() for place in rows}
    taken: set[int] = set()

    def pick(label: int) -> list[int]:
        free = list(everything.difference(rest[label], taken))
        found = random.choices(free, k=count) if free else []
        taken.update(found)
        return found

    return pick


def _next_foreign(own: dict[int, list[int]], rest: dict[int, list[int]], count: int) -> Callable[[int], list[int]]:
    """Images of the next class in a shuffled order. If there are too few, the last one is repeated."""
    names = list(own)
    for label in names:
        random.shuffle(own[label])
        random.shuffle(rest[label])

    def pick(label: int) -> list[int]:
        for _ in range(count):
            random.random()  # the authors' code draws the class at random from one candidate
        found = rest[names[(names.index(label) + 1) % len(names)]]
        return [found[min(number, len(found) - 1)] for number in range(count)] if found else []

    return pick


def _by_class(items: Sequence[Item]) -> dict[int, list[Item]]:
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


# ---------------------------------------------------------------------- after the draw


def some_places(count: int, share: float, key: str) -> set[int]:
    """floor(share count) of `count` positions. They depend only on the key, and those of a larger share contain those
    of a smaller one."""
    order = list(range(count))
    random.Random(key).shuffle(order)
    return set(order[: int(share * count)])


def confused(labels: Sequence[int], others: Sequence[int], share: float, key: str) -> list[int]:
    """Labels under the rule `confusable`: the labels at `some_places` are replaced by those in `others`.

    Labels start at 0. `others` has another class for each label.
    """
    wrong = some_places(len(labels), share, key)
    return [others[label] if place in wrong else label for place, label in enumerate(labels)]


def by_instance(
    features: Floats, labels: Sequence[int], paths: Sequence[str], classes: int, share: float, seed: int
) -> list[int]:
    """Labels under the rule `instance`. Source: DeFT's code, with features in the place of pixels, which is ours.

    q_i ~ N(share, SPREAD^2) within [0, 1] is the probability that image i gets a wrong label, and P(c) = q_i
    softmax_{c != y}(f_i . W_y) that of class c, where the entries of W_y (D, C) are standard normal. What is drawn
    follows from the seed and the path, and a larger share keeps the images with wrong labels of a smaller one.

    Args:
        features: unit rows f, (N, D).
        labels: y, from 0 to classes - 1, (N,).
        paths: of the images, (N,).
    """
    from scipy.special import ndtr, ndtri, softmax  # imported here: every command imports this module

    low, high = ndtr(-share / SPREAD), ndtr((1 - share) / SPREAD)
    weights = {y: np.random.default_rng([seed, y]).standard_normal((features.shape[1], classes)) for y in set(labels)}
    new = list(labels)
    for i, (label, path) in enumerate(zip(labels, paths, strict=True)):
        generator = random.Random(f"{seed}/{INSTANCE}/{path}")
        rate, decision, choice = (generator.random() for _ in range(3))
        if decision < share + SPREAD * ndtri(low + rate * (high - low)):
            scores = features[i] @ weights[label]
            scores[label] = -np.inf
            new[i] = min(int(np.searchsorted(softmax(scores).cumsum(), choice, side="right")), classes - 1)
            # rounding at the end of the sums must not give the label itself
            new[i] -= new[i] == label
    return new


def noisy_selection(items: Sequence[Item], noise: Noise, others: Sequence[int], key: str) -> list[int]:
    """Labels of selection images under the rule and share of the training labels, drawn independently of these.

    Args:
        items: images with labels from 0 to C - 1.
        noise: the noise of these labels.
        others: another class for each label, for `confusable`.
        key: the key of the random numbers.
    """
    labels, count = [item.label for item in items], len(noise.labels)
    if noise.rule == "bernoulli":
        return [noise.relabel(item) for item in items]
    if noise.rule == CONFUSABLE:
        return confused(labels, others, noise.p, key)
    generator, new = random.Random(f"{key}/labels"), list(labels)
    if noise.rule in FOREIGN:  # as many of each class, so that labels of equally large classes stay as frequent
        shifts = [-1 if noise.rule == "foreign-next" else generator.randrange(1, count) for _ in items]
        for label in sorted(set(labels)):
            rows = [place for place, own in enumerate(labels) if own == label]
            for number in sorted(some_places(len(rows), noise.p, f"{key}/{label}")):
                new[rows[number]] = (label + shifts[number]) % count
        return new
    for place in sorted(some_places(len(items), noise.p, key)):
        new[place] = (labels[place] + (1 if noise.rule == "next" else generator.randrange(1, count))) % count
    return new
