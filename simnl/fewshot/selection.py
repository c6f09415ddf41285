"""Selection on validation images: the images that a protocol allows, and the choice of the best epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simnl.clip.finite import check_logits
from simnl.data.wrong_labels import WrongLabels
from simnl.fewshot.checkpoint import restore_head, save_head
from simnl.fewshot.head import Head
from simnl.fewshot.loaders import LabelledFeatures, products_of
from simnl.fewshot.support import held_out
from simnl.sealed import DamagedError, read_sealed, write_sealed

log = logging.getLogger(__name__)


def selection_images(cfg, dataset) -> list:
    """The images on which the protocol lets a method choose its epoch and hyper-parameters.

    Raises:
        ValueError: PROTOCOL is `full-val`, but the data set has no validation split of its own; or test images would
            get wrong labels.
    """
    if cfg.PROTOCOL == "oracle-test" and cfg.DATASET.NOISY_SELECTION:
        raise ValueError(
            "DATASET.NOISY_SELECTION gives selection images wrong labels. Under PROTOCOL oracle-test these are the "
            "test images, whose labels must stay right. Change one of the two keys."
        )
    if cfg.PROTOCOL == "no-val":
        return []
    if cfg.PROTOCOL == "held-shot":  # the first of the two trainings chooses on held-out images
        return held_out(dataset.train_x) if cfg.SELECTION.HOLD_OUT else []
    if cfg.PROTOCOL == "oracle-test":
        return list(dataset.test)
    if cfg.PROTOCOL == "full-val":
        if dataset.full_val is None:
            raise ValueError(
                f"{cfg.DATASET.NAME} has no validation split of its own, so PROTOCOL full-val is not possible. Use "
                "fewshot-val. (The authors select on test images; oracle-test does so, and every table says it.)"
            )
        return with_labels_of_selection(dataset, dataset.full_val, "full_val")
    if not dataset.val:
        log.warning(
            "No validation images are left beside the %d shots of %s: nothing is selected (last epoch, initial "
            "hyper-parameters).",
            cfg.DATASET.NUM_SHOTS,
            cfg.DATASET.NAME,
        )
    return with_labels_of_selection(dataset, dataset.val or [], "val")


def with_labels_of_selection(dataset, items: Sequence, part: str) -> list:
    """The images with the wrong labels that the config asks for on selection images, if any."""
    return dataset.for_selection(items, part) if isinstance(dataset, WrongLabels) else list(items)


def may_search(trainer: Any) -> bool:
    """Whether a `VLTrainer` may choose hyper-parameters: the protocol gives it images, and SEARCH is not off."""
    return bool(trainer.num_val and trainer.cfg.SEARCH.ENABLED)


def accuracy(head: Head, features: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent. features: raw, (M, D); labels: (M,)."""
    return accuracy_over(head, LabelledFeatures(features, labels), features.device)


def accuracy_over(head: Head, batches: Iterable[Mapping[str, Tensor]], device: torch.device) -> float:
    """Top-1 accuracy in percent over batches of `img` (features or pixels) and `label`."""
    predicted, labels = predict(head, batches, device)
    return percent_right(predicted, labels)


@torch.no_grad()
def predict(
    head: Head,
    batches: Iterable[Mapping[str, Tensor]],
    device: torch.device,
    columns: Sequence[int] | None = None,
    method: str = "",
    transduce: bool = False,
    keep: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Predicted and true labels over batches of `img` (features or pixels) and `label`.

    Args:
        head: the head that predicts. Its mode (training or evaluation) stays as it was.
        batches: the batches to predict. Their labels number the columns that are kept.
        device: the device of the head.
        columns: the indices of the classes whose logits are kept; None for all classes.
        method: the name of the method whose logits must be finite; empty for no check, which would make the CPU wait.
        transduce: True if a prediction may look at all images of a batch, as in an evaluation (`Head.transduce`).
        keep: a function that gets the logits of the kept columns, batch by batch.

    Returns:
        Two int64 tensors (M,) on the device.

    Raises:
        NotFinite: logits of `method` are NaN or infinite.
    """
    was_training = head.training
    head.eval()
    predicted, labels = [], []
    for batch in batches:
        features = batch["img"].to(device)
        logits = head.transduce(features) if transduce else head.scored(features, **products_of(batch))
        if method:
            check_logits(logits, method)
        logits = logits if columns is None else logits[:, list(columns)]
        if keep is not None:
            keep(logits)
        predicted.append(logits.argmax(1))
        labels.append(batch["label"].to(device))
    head.train(was_training)
    return torch.cat(predicted), torch.cat(labels)


def percent_right(predicted: Tensor, labels: Tensor) -> float:
    """The share of equal entries of two tensors (M,), in percent."""
    return 100.0 * (predicted == labels).sum().item() / len(labels)


class EpochSelection:
    """The epoch with the highest validation accuracy, stored on disk so that a killed run can continue.

    The weights of a new best epoch are stored beside those of the best epoch before it. The older weights are deleted
    only when a later checkpoint exists (`prune`). So a run that resumes from any checkpoint finds its best epoch.

    Args:
        folder: the run's folder.
        start_epoch: the number of finished epochs. Scores of later epochs, which a crash lost, are dropped.
        ties: `first` or `last`: which of several equally good epochs is taken.

    Raises:
        ValueError: the scores of the finished epochs are missing or damaged. The message says what to do.
    """

    def __init__(self, folder: Path, start_epoch: int, ties: str = "first"):
        self._folder, self._scores, self._ties = folder, folder / "selection.json", ties
        known = self._read() if start_epoch else []
        if len(known) < start_epoch:
            raise ValueError(
                f"{self._scores} has the scores of {len(known)} epochs, but the checkpoint is of epoch {start_epoch}. "
                f"{self._advice} "
                "If RESUME names another folder, copy selection.json and best-epoch*.safetensors from there."
            )
        self.scores: list[float] = known[:start_epoch]

    @property
    def _advice(self) -> str:
        return f"To train from the start, delete {self._scores} and the checkpoints in {self._folder / 'head'}."

    def _read(self) -> list[float]:
        try:
            content = read_sealed(self._scores, older=lambda found: isinstance(found, list))
        except FileNotFoundError:
            return []
        except DamagedError as error:
            raise ValueError(f"{self._scores} is damaged: the file {error.why}. {self._advice}") from error
        if isinstance(content, list):
            log.warning(
                "%s is of an earlier version and has no check sum, so damage in it cannot be found.", self._scores
            )
        known = content.get("scores") if isinstance(content, dict) else content
        if not (isinstance(known, list) and all(map(_is_score, known))):
            raise ValueError(f"{self._scores} is damaged: it must hold a list of numbers from 0 to 100. {self._advice}")
        return known

    @property
    def best_epoch(self) -> int:
        """0-based."""
        highest = max(self.scores)
        best = [epoch for epoch, score in enumerate(self.scores) if score == highest]
        return best[-1 if self._ties == "last" else 0]

    def add(self, head: Head, score: float) -> None:
        """Add the score of the epoch that just ended, and store its weights if it is the best."""
        self.scores.append(score)
        if self.best_epoch == len(self.scores) - 1:
            save_head(self._weights(self.best_epoch), head, {})
        write_sealed(self._scores, {"scores": self.scores})

    def prune(self) -> None:
        """Remove the weights of all but the best epoch."""
        for path in self._folder.glob("best-epoch*.safetensors"):
            if path != self._weights(self.best_epoch):
                path.unlink(missing_ok=True)

    def restore(self, head: Head) -> None:
        """Load the weights of the best epoch into the head.

        Raises:
            ValueError: the weights are missing, damaged or of another head. The message says what to do.
        """
        try:
            restore_head(self._weights(self.best_epoch), head, {})
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"The weights of the best epoch cannot be loaded: {error} {self._advice}") from error

    def __str__(self) -> str:
        return f"epoch {self.best_epoch + 1} of {len(self.scores)} ({max(self.scores):.2f} %)"

    def _weights(self, epoch: int) -> Path:
        return self._folder / f"best-epoch{epoch + 1}.safetensors"


def _is_score(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 100
