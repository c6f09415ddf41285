"""Few-shot draws: CoOp's rule, wrong labels if a run asks for them, and how draws are stored.

A draw depends only on the split, the number of shots and the seed. After `random.seed(seed)`, K images of each class
of the training part are drawn, and then min(K, 4) images of each class of the validation part from the same stream of
random numbers. A draw is stored as json with paths relative to the image folder, so that it stays valid if the data
root moves or Python's generator changes.
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
from simnl.data.noise import FOREIGN, RULES, Noise
from simnl.data.splits import Item, Split
from simnl.files import HOUR, remove_left_overs
from simnl.sealed import read_sealed, seal

logger = logging.getLogger(__name__)

SCHEMA = 1
MAX_VAL_SHOTS = 4

Sampler = Callable[..., Any]  # Dassl's function from one list of images to another


@dataclass(frozen=True)
class DrawSpec:
    """What a draw depends on besides the split. `noise` is None for clean labels."""

    shots: int
    seed: int
    noise: Noise | None = None

    @property
    def file_name(self) -> str:
        """The file name of the stored draw. Noisy draws have other names."""
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
        raise ValueError(f"SEED is {seed}, but a few-shot draw needs 0 or more.")
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def labels_of_all(items: Sequence[Item], noise: Noise | None, seed: int) -> list[int]:
    """The labels of a whole training part, from which no images are drawn."""
    if noise is None:
        return [item.label for item in items]
    if noise.rule == RULES[0]:
        return [noise.relabel(item) for item in items]
    with seeded_random(seed):
        return noise.wrong_labels([item.label for item in items])


def draw(sampler: Sampler, split: Split, spec: DrawSpec) -> Draw:
    """Draw from `split` as CoOp does. `sampler` is `DatasetBase.generate_fewshot_dataset`.

    Without a validation part, the validation images come from the training images that were not drawn.
    """
    noise = spec.noise
    with seeded_random(spec.seed):
        if noise is not None and noise.interleaved:
            train, labels = noise.draw_interleaved(split.train, spec.shots)
        elif noise is not None and noise.rule in FOREIGN:
            train, labels = noise.draw_foreign(split.train, spec.shots, spec.seed)
        else:
            train = sampler(split.train, num_shots=spec.shots)
            by_path = noise is not None and noise.rule == RULES[0]
            labels = [noise.relabel(item) if noise and by_path else item.label for item in train]
        pool = split.val
        if pool is None:
            taken = {item.path for item in train}
            pool = [item for item in split.train if item.path not in taken]
        val = sampler(pool, num_shots=min(spec.shots, MAX_VAL_SHOTS))
        if noise is not None and noise.rule in ("exact", "next"):
            labels = noise.wrong_labels(labels)
    return Draw(list(train), labels, list(val))


class DrawStore:
    """Draws of one split, stored below `<STORE.ROOT>/draws/<data set>/<split hash, 12 digits>/`."""

    def __init__(self, root: Path, dataset: str, split: Split) -> None:
        self.folder = root / "draws" / dataset / split.sha256[:12]
        self.split = split

    def get(self, sampler: Sampler, spec: DrawSpec) -> Draw:
        """The stored draw if it is complete and of this split; else a new one, which is then stored."""
        path = self.folder / spec.file_name
        try:
            return self._load(path, spec)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("The stored draw %s is not used (%s), so images are drawn again.", path, error)
        result = draw(sampler, self.split, spec)
        self._save(path, spec, result)
        return result

    def _header(self, spec: DrawSpec) -> dict[str, object]:
        noise = None if spec.noise is None else {**asdict(spec.noise), "labels": list(spec.noise.labels)}
        if noise is not None and noise["rule"] == RULES[0]:
            del noise["rule"]  # older draws do not name this rule
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
            remove_left_overs(path.parent, older_than=HOUR)  # other processes may be writing draws there
            write_json(path, seal(content))
        except OSError as error:
            logger.warning("The draw could not be stored at %s (%s). The run goes on.", path, error)

    def _load(self, path: Path, spec: DrawSpec) -> Draw:
        content = read_sealed(path)
        for key, value in self._header(spec).items():
            if content.get(key) != value:
                raise ValueError(f"it is out of date: {key} is {content.get(key)!r}, not {value!r}")
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
