"""The model card of a shared head: the facts of its training from the file, and its measured accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import binomtest

from simnl.clip.transforms import in_words
from simnl.escaping import markdown
from simnl.fewshot.description import HeadDescription
from simnl.fewshot.memory import GIVEN
from simnl.metrics.calibration import ece
from simnl.runs.logits import TEST, read_logits
from simnl.runs.record import FILE as RECORD
from simnl.runs.record import OWN_IMAGES, read_record
from simnl.sealed import DamagedError

TEMPLATE = "model_card.md.j2"
PROTOCOLS = {
    "no-val": "no-val: nothing was chosen on held-out images",
    "held-shot": "held-shot: hyper-parameters were chosen on an image of each class that a first training left out",
    "fewshot-val": "fewshot-val: epoch and hyper-parameters were chosen on a few held-out images of each class",
    "full-val": "full-val: epoch and hyper-parameters were chosen on a validation set",
    "oracle-test": "oracle-test: epoch and hyper-parameters were chosen on the test images, so it is too high",
}


@dataclass(frozen=True)
class Evaluation:
    """The result of a test on labelled images.

    Attributes:
        what: the images, in words.
        right, total: the number of right labels, and of all labels.
        ece, confidence: in percent; None if the probabilities are not known.
    """

    what: str
    right: int
    total: int
    ece: float | None = None
    confidence: float | None = None

    @classmethod
    def of(cls, what: str, probabilities: ArrayLike, labels: ArrayLike) -> Evaluation:
        """The result for probabilities (N, C) and labels (N,), N > 0."""
        rows, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
        right, confidence = rows.argmax(1) == truth, rows.max(1)
        return cls(what, int(right.sum()), len(truth), 100 * ece(confidence, right), 100 * float(confidence.mean()))

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, in percent."""
        found = binomtest(self.right, self.total).proportion_ci(0.95, method="wilson")
        return 100 * found.low, 100 * found.high


def evaluation_of_run(folder: Path) -> Evaluation | None:
    """The result of a run on its test images, from its logits or else its record; None for a head without a run.

    Raises:
        ValueError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_record(path) | {"path": str(path)}
    what = f"the test images of {record['dataset']}"
    try:
        logits, labels = read_logits(record).parts[TEST]
    except (FileNotFoundError, DamagedError, KeyError):  # logits of an earlier release, or deleted ones
        total = record.get("num_test", 0)
        return Evaluation(what, round(record["accuracy"] * total / 100), total) if total else None
    return Evaluation.of(what, softmax(logits, axis=1), labels)


def model_card(about: HeadDescription, repository: str, evaluation: Evaluation | None = None, licence: str = "") -> str:
    """The text of README.md in the repository of a head.

    Args:
        about: the description in the head's file.
        repository: the place from which the head is loaded, OWNER/NAME or a folder.
        evaluation: the result of a test, if there was one.
        licence: an identifier of the hub (`mit`, `cc-by-4.0`, ...); if it is empty, the card has a line to fill in.
    """
    templates = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(
        loader=templates, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = markdown
    return environment.get_template(TEMPLATE).render(
        about=about, repository=repository, evaluation=evaluation, licence=licence,
        backbone=_backbone(about),
        hparams=", ".join(f"{markdown(name)} {value:.4g}" for name, value in about.hparams.items()),
        transform=_transform(about), takes_pictures=about.backbone.arch != GIVEN,
        images=f"at most {about.num_shots} of each class" if about.num_shots else "unknown",
        dataset=_dataset(about),
        protocol=PROTOCOLS.get(about.protocol, markdown(about.protocol or "unknown")),
    )  # fmt: skip


def _transform(about: HeadDescription) -> str:
    known: dict[str, Any] = about.backbone.transform
    fields = {field: known[field] for field in ("mean", "std", "interpolation", "resize_mode") if field in known}
    return (
        f"size {known.get('size')}, {in_words({k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})}"
    )


def _backbone(about: HeadDescription) -> str:
    return "features of another program" if about.backbone.arch == GIVEN else markdown(about.backbone.name)


def _dataset(about: HeadDescription) -> str:
    return "pictures of its owner" if about.dataset.lower() == OWN_IMAGES else markdown(about.dataset or "unknown")
