"""The score that tells known classes from unknown ones, and its threshold, both fitted without a single outlier.

Scores that need a parameter take it from the support. A method with a positive and a negative side chooses its score by
pseudo-open sets: half of the classes of the support play the unknown ones, and the head is built from the others alone.
Thresholds are of the images that the protocol allows to select on, which the head has not learned from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.clip.text import PromptFeatures
from simnl.fewshot.head import Head
from simnl.fewshot.task import FewShotTask
from simnl.metrics import scores
from simnl.metrics.classification import Floats, Integers, checked
from simnl.metrics.detection import RECALL, auroc
from simnl.metrics.two_sided import OWN, TWO_SIDED, Sides, conformal_threshold, offset
from simnl.runs.calibration import steady_temperature

SPLITS = 5  # pseudo-open sets; split r is drawn by a generator of seed + r
DEFAULT = "maxlogit"  # the score of methods that have nothing to choose between
LEAST_CLASSES = 4  # the fewest classes of which half can play the unknown ones


@dataclass(frozen=True)
class Detectors:
    """How images of a run are scored.

    Attributes:
        scale: the model's logit scale.
        offset: b of `yes_no`; 0 for methods without sides.
        chosen: the score that pseudo-open sets chose, or the default.
        pseudo_auroc: mean AUROC on pseudo-open sets by score; empty where nothing was chosen.
        temperature: fitted on the selection images; 1 where there are none, or none can be trusted.
        thresholds: the least value that counts as known, by score; empty without selection images.
    """

    scale: float
    offset: float = 0.0
    chosen: str = DEFAULT
    pseudo_auroc: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """What a head says of images: logits (N, C), labels (N,), its two sides or None, and scores (N,) by name."""

    logits: Floats
    labels: Integers
    sides: Sides | None
    scores: Mapping[str, Floats]


def fit_detectors(trainer) -> Detectors:
    """Offset and choice from the support, temperature and thresholds from the selection images. No outlier is seen."""
    detectors = Detectors(trainer.clip.logit_scale)
    if len(trainer.task.support_labels) and has_sides(trainer.head):
        detectors = replace(detectors, **_fitted_on_support(trainer))
    if not trainer.num_val:
        return detectors
    held_out = score(trainer, trainer.head, trainer.validation, detectors)
    detectors = replace(detectors, temperature=steady_temperature(held_out.logits, held_out.labels)[0].value)
    held_out = score(trainer, trainer.head, trainer.validation, detectors)
    thresholds = {name: conformal_threshold(values, RECALL) for name, values in held_out.scores.items()}
    return replace(detectors, thresholds=thresholds)


def has_sides(head: Head) -> bool:
    """Whether a head has a positive and a negative side."""
    return type(head).sides is not Head.sides


@torch.no_grad()
def score(trainer, head: Head, batches: Iterable[Mapping[str, Tensor]], detectors: Detectors) -> Scored:
    """Scores of images by every detector, larger = known.

    Raises:
        ValueError: NaN or infinite logits; the message names the method.
    """
    head.eval()
    logits, labels, sides, texts = [], [], [], []
    for batch in batches:
        images = batch["img"].to(trainer.device)
        logits.append(head(images).double().cpu())
        labels.append(batch["label"].cpu())
        sides.append(_numbers(head, images))
        texts.append(_text_logits(trainer, images))
    try:
        rows, truth = checked(torch.cat(logits).numpy(), torch.cat(labels).numpy())
    except ValueError as error:
        raise ValueError(f"{type(trainer).__name__} gives logits that cannot be scored: {error}") from error
    found = _sides(head, sides, detectors.scale)
    return Scored(rows, truth, found, _all_scores(rows, found, _joined(texts), detectors))


def _all_scores(logits: Floats, sides: Sides | None, texts: list[Floats], detectors: Detectors) -> dict[str, Floats]:
    values = {name: function(logits, detectors.scale) for name, function in scores.LOGIT_SCORES.items()}
    values["msp/T"] = scores.msp(logits, detectors.temperature)
    if texts:
        values |= {"no_prompt_best": scores.yes_of_best(*texts), "no_prompt_average": scores.yes_on_average(*texts)}
    if sides is not None:
        values |= {name: TWO_SIDED[name](sides, detectors.offset) for name in OWN}
    return values


def _sides(head: Any, parts: list[dict[str, Tensor]], scale: float) -> Sides | None:
    if not parts or not parts[0]:
        return None
    arrays: dict[str, Any] = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    return Sides(**arrays, lam=head.hparams["lam"], scale=scale)


def _text_logits(trainer, images: Tensor) -> tuple[Tensor, ...]:
    """Logits of the frozen positive and negative templates, (B, C) each; nothing for methods without the latter."""
    if not trainer.image_encoder_frozen or not {"template", "negative"} <= set(trainer.task.prompts):
        return ()
    f = trainer.clip.logit_scale * F.normalize(images.float(), dim=-1)
    return tuple((f @ trainer.task.text_features(name).T).double().cpu() for name in ("template", "negative"))


def _joined(parts: list[tuple[Tensor, ...]]) -> list[Floats]:
    return [torch.cat(column).numpy() for column in zip(*parts, strict=True)]


# ---------------------------------------------------------------------- pseudo-open sets


def _fitted_on_support(trainer) -> dict[str, Any]:
    """Offset of the trained head on the support, and the score with the largest mean AUROC on pseudo-open sets."""
    task = trainer.task
    view = task.support_features[0].to(trainer.device)
    b = _offset(trainer.head, view, task.support_labels, trainer.clip.logit_scale)
    splits = [found for r in range(1, SPLITS + 1) if (found := _pseudo_open(trainer, r)) is not None]
    if not splits:
        return {"offset": b}
    means = {name: float(np.mean([split[name] for split in splits])) for name in TWO_SIDED}
    return {"offset": b, "pseudo_auroc": means, "chosen": max(means, key=lambda name: means[name])}  # ties: the first


@torch.no_grad()
def _offset(head: Head, features: Tensor, labels: Tensor, scale: float) -> float:
    found = _sides(head, [_numbers(head, features)], scale)
    return 0.0 if found is None else offset(found.margins, labels.cpu().numpy())


@torch.no_grad()
def _pseudo_open(trainer, number: int) -> dict[str, float] | None:
    """AUROC of each score where half of the classes are left out and one shot of the others is held out.

    The head is built from the remaining rows and has the hyper-parameters of the run, but nothing is learned. Where a
    class has one shot, its last view is held out, and the key is the mean of the others. None where that is impossible.
    """
    task: FewShotTask = trainer.task
    labels, count, scale = task.support_labels.cpu(), task.num_classes, trainer.clip.logit_scale
    order = np.random.default_rng(trainer.cfg.SEED + number).permutation(count)
    kept = torch.from_numpy(np.sort(order[: -(-count // 2)]))
    dropped = ~torch.isin(labels, kept)
    known = ~dropped & torch.isin(task.support_classes.cpu(), kept)
    held_out = _one_of_each(known, labels, number)
    single = not held_out.any()
    if count < LEAST_CLASSES or not known.any() or not dropped.any() or (single and len(task.support_features) < 2):
        return None
    rows, held_out = (known, known) if single else (known & ~held_out, held_out)
    head = trainer.build_head(_part_of(task, kept, rows, single), trainer.node).to(trainer.device).eval()
    head.hparams.update(trainer.head.hparams)
    view = task.support_features[-1 if single else 0].to(trainer.device)
    b = _offset(head, view[rows], torch.searchsorted(kept, labels[rows]), scale)
    sides = [_sides(head, [_numbers(head, view[images])], scale) for images in (held_out, dropped)]
    return {name: auroc(*(f(s, b) for s in sides if s is not None)) for name, f in TWO_SIDED.items()}


def _one_of_each(known: Tensor, labels: Tensor, number: int) -> Tensor:
    """A mask (N,) of one known row of each class that has several, by turns."""
    held_out = torch.zeros_like(known)
    for label in labels[known].unique():
        rows = (known & (labels == label)).nonzero().flatten()
        if len(rows) > 1:
            held_out[rows[number % len(rows)]] = True
    return held_out


def _numbers(head: Head, features: Tensor) -> dict[str, Tensor]:
    return {name: value.double().cpu() for name, value in head.sides(features).items()}


def _part_of(task: FewShotTask, kept: Tensor, rows: Tensor, without_last_view: bool) -> FewShotTask:
    """The task of some classes, (C',) sorted, with some rows of the support, a mask (N,)."""
    features = task.support_features[: -1 if without_last_view else None, rows]
    labels = [torch.searchsorted(kept, x.cpu()[rows]).to(x.device) for x in (task.support_labels, task.support_classes)]
    prompts = {}
    for name, prompt in task.prompts.items():
        mine = torch.isin(prompt.classes.cpu(), kept)
        classes = torch.searchsorted(kept, prompt.classes.cpu()[mine]).to(prompt.classes.device)
        prompts[name] = PromptFeatures(prompt.features[mine.to(prompt.features.device)], classes)
    return replace(
        task,
        support_features=features,
        support_labels=labels[0],
        support_classes=labels[1],
        prompts=prompts,
        classnames=tuple(task.classnames[c] for c in kept.tolist()),
        num_shots=max(1, task.num_shots - (not without_last_view)),
    )
