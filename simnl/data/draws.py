"""Few-shot draws: CoOp's rule, symmetric label noise, and how draws are stored.

A draw depends on the split, the number of shots and the seed alone. After `random.seed(seed)`, K images of each class
of the training part are drawn, and then min(K, 4) images of each class of the validation part from the same stream of
random numbers. A draw is stored as json with paths relative to the image folder, so that it outlives a moved data root
and a change of Python's generator.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simnl.data.listing import write_json
from simnl.data.splits import Item, Split
from simnl.files import HOUR, remove_left_overs
from simnl.sealed import read_sealed, seal

logger = logging.getLogger(__name__)

SCHEMA = 1
MAX_VAL_SHOTS = 4
RULES = ("bernoulli", "exact", "next")  # of wrong labels; see `Noise`

Sampler = Callable[..., Any]  # Dassl's: one list of images for one list


@dataclass(frozen=True)
class Noise:
    """Wrong training labels: a share `p` of them, by one of the rules of the field.

    `bernoulli` (SimNL): with probability `p` a label becomes a uniform choice of the other `labels`. `exact` (NLPrompt,
    symmetric): floor(p N) of the N drawn images, whichever classes they are of, get a uniform choice of the others.
    `next` (NLPrompt, asymmetric): as many get the next label in the order of `labels`, the last one the first.

    Of `bernoulli`, repaired: whether and how an image's label changes follows from `seed` and the image's path alone.
    So every draw of a run sees the same wrong label on an image, and a higher `p` keeps the wrong labels of a lower
    one; the other rules depend on the images that were drawn. `interleaved` is the authors' rule instead (ImageNet_N):
    the decisions come from the stream that draws the images, image by image after each class's draw; `seed` is not
    used.
    """

    p: float
    seed: int
    labels: tuple[int, ...]
    interleaved: bool = False
    rule: str = RULES[0]

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"DATASET.NOISE_RULE is '{self.rule}'. Choose one of {', '.join(RULES)}.")
        if not 0 <= self.p <= 1:
            raise ValueError(f"DATASET.LABEL_NOISE must be a probability between 0 and 1, not {self.p}.")
        if len(self.labels) < 2:
            raise ValueError("DATASET.LABEL_NOISE needs at least two classes: there is no other label to give.")

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

    def of_all(self, items: Sequence[Item], seed: int) -> list[int]:
        """Labels of a whole training part, of which nothing is drawn."""
        if self.rule == RULES[0]:
            return [self.relabel(item) for item in items]
        with seeded_random(seed):
            return self.wrong_labels([item.label for item in items])

    def _decide(self, label: int, generator: Any) -> int:
        """`generator`: a `random.Random`, or the module, which draws from the global one."""
        if label not in self.labels or generator.random() >= self.p:
            return label
        other = generator.choice(range(len(self.labels) - 1))  # one call, as a choice from the list without `label`
        return self.labels[other + (other >= self.labels.index(label))]

    def draw_interleaved(self, items: Sequence[Item], shots: int) -> tuple[list[Item], list[int]]:
        """Images and labels by the authors' rule from the global stream: per class draw, then decide."""
        groups: dict[int, list[Item]] = {}
        for item in items:
            groups.setdefault(item.label, []).append(item)
        drawn, labels = [], []
        for group in groups.values():
            chosen = random.sample(group, shots) if len(group) >= shots else group
            drawn += chosen
            labels += [self._decide(item.label, random) for item in chosen]
        return drawn, labels


@dataclass(frozen=True)
class DrawSpec:
    """What a draw depends on beside the split. `noise` None means clean labels."""

    shots: int
    seed: int
    noise: Noise | None = None

    @property
    def file_name(self) -> str:
        """Name of the stored draw; noisy draws have names of their own."""
        name = f"shots_{self.shots}-seed_{self.seed}"
        if self.noise is not None:
            rule = "official" if self.noise.interleaved else f"run_{self.noise.seed}"
            rule += f"-{self.noise.rule}" * (self.noise.rule != RULES[0])
            subset = hashlib.sha256(repr(self.noise.labels).encode()).hexdigest()[:8]
            name += f"-noise_{self.noise.p:g}-{rule}-{subset}"
        return f"{name}.json"


@dataclass(frozen=True)
class Draw:
    """`train` images, the labels to learn from (`labels`, which noise may have changed), and `val` images."""

    train: list[Item]
    labels: list[int]
    val: list[Item]


@contextmanager
def seeded_random(seed: int) -> Iterator[None]:
    """Seed Python's global generator for a block, and put its state back afterwards."""
    if seed < 0:
        raise ValueError(f"SEED must be 0 or more for a few-shot draw, not {seed}.")
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def draw(sampler: Sampler, split: Split, spec: DrawSpec) -> Draw:
    """Draw from `split` as CoOp does. `sampler` is `DatasetBase.generate_fewshot_dataset`.

    Without a validation part, the validation images come from the training images that were not drawn.
    """
    noise = spec.noise
    with seeded_random(spec.seed):
        if noise is not None and noise.interleaved:
            train, labels = noise.draw_interleaved(split.train, spec.shots)
        else:
            train = sampler(split.train, num_shots=spec.shots)
            by_path = noise is not None and noise.rule == RULES[0]
            labels = [noise.relabel(item) if noise and by_path else item.label for item in train]
        pool = split.val
        if pool is None:
            taken = {item.path for item in train}
            pool = [item for item in split.train if item.path not in taken]
        val = sampler(pool, num_shots=min(spec.shots, MAX_VAL_SHOTS))
        if noise is not None and noise.rule != RULES[0]:
            labels = noise.wrong_labels(labels)
    return Draw(list(train), labels, list(val))


class DrawStore:
    """Draws of one split, stored below `<STORE.ROOT>/draws/<data set>/<split hash, 12 digits>/`."""

    def __init__(self, root: Path, dataset: str, split: Split) -> None:
        self.folder = root / "draws" / dataset / split.sha256[:12]
        self.split = split

    def get(self, sampler: Sampler, spec: DrawSpec) -> Draw:
        """The stored draw if it is whole and of this split; otherwise a new one, which gets stored."""
        path = self.folder / spec.file_name
        try:
            return self._load(path, spec)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("The stored draw %s is not used (%s); drawing again.", path, error)
        result = draw(sampler, self.split, spec)
        self._save(path, spec, result)
        return result

    def _header(self, spec: DrawSpec) -> dict[str, object]:
        noise = None if spec.noise is None else {**asdict(spec.noise), "labels": list(spec.noise.labels)}
        if noise is not None and noise["rule"] == RULES[0]:
            del noise["rule"]  # draws from before there were others
        return {
            "schema": SCHEMA,
            "split_sha256": self.split.sha256,
            "shots": spec.shots,
            "seed": spec.seed,
            "noise": noise,
        }

    def _save(self, path: Path, spec: DrawSpec, result: Draw) -> None:
        content = {
            **self._header(spec),
            "train": [[item.path, item.label] for item in result.train],
            "noisy_labels": None if spec.noise is None else result.labels,
            "val": [[item.path, item.label] for item in result.val],
        }
        try:
            remove_left_overs(path.parent, older_than=HOUR)  # other processes may be writing draws beside this one
            write_json(path, seal(content))
        except OSError as error:
            logger.warning("The draw could not be stored at %s (%s); the run goes on without.", path, error)

    def _load(self, path: Path, spec: DrawSpec) -> Draw:
        content = read_sealed(path)
        for key, value in self._header(spec).items():
            if content.get(key) != value:
                raise ValueError(f"stale: {key} is {content.get(key)!r}, expected {value!r}")
        train = self._find(self.split.train, content["train"])
        val = self._find(self.split.train if self.split.val is None else self.split.val, content["val"])
        labels = [item.label for item in train] if spec.noise is None else content["noisy_labels"]
        return Draw(train, labels, val)

    @staticmethod
    def _find(items: Sequence[Item], rows: list) -> list[Item]:
        wanted = {path for path, _ in rows}
        known = {item.path: item for item in items if item.path in wanted}
        if any(path not in known or known[path].label != label for path, label in rows):
            raise ValueError("it names images that the split does not have")
        return [known[path] for path, _ in rows]
