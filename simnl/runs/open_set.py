"""The scores that tell known classes from unknown ones, and their thresholds, fitted without any outlier.

Scores that need a parameter take it from the support. A method with a positive and a negative side chooses its score on
pseudo-open sets: half of the classes of the support play the unknown ones, and the head is built from the other half.
Thresholds are fitted on known images that the head has not learned from. For a training-free method these are the
support images, each left out in turn; for other methods they are the images that the protocol allows to select on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simnl.clip.text import PromptFeatures
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.selection import selection_images
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer
from simnl.metrics import scores
from simnl.metrics.classification import Floats, Integers, checked
from simnl.metrics.detection import RECALL, auroc
from simnl.metrics.two_sided import OWN, TWO_SIDED, Sides, conformal_threshold, offset
from simnl.runs.calibration import steady_temperature
from simnl.runs.extra_scores import ExtraScores

log = logging.getLogger(__name__)

SPLITS = 5  # number of pseudo-open sets; set r is drawn by a generator with seed + r
DEFAULT = "maxlogit"  # the score of methods that have only one choice
SUPPORT, SELECTION = "support", "selection"  # the images that thresholds are fitted on
NO_EXTRA = ExtraScores()
LEAST_CLASSES = 4  # the smallest number of classes of which half can play the unknown ones


@dataclass(frozen=True)
class Detectors:
    """How images of a run are scored.

    Attributes:
        scale: the model's logit scale.
        offset: b of `yes_no`; 0 for methods without sides.
        chosen: the score that was chosen on pseudo-open sets, or the default.
        pseudo_auroc: the mean AUROC on pseudo-open sets by score; empty if nothing was chosen.
        temperature: fitted on the selection images; 1 if there are none, or if no fitted value can be trusted.
        thresholds: the least value that counts as known, by score; empty if there are no images to fit on.
        thresholds_from: `support` (leave-one-out) or `selection`; empty without thresholds. Extra scores use no
            support image, so their thresholds are always fitted on the selection images.
    """

    scale: float
    offset: float = 0.0
    chosen: str = DEFAULT
    pseudo_auroc: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    thresholds_from: str = ""


@dataclass(frozen=True)
class Scored:
    """Images with their scores.

    There are logits (N, C), labels (N,), the head's two sides or None, scores (N,) by name, and the names of the scores
    that the method or the user brings.
    """

    logits: Floats
    labels: Integers
    sides: Sides | None
    scores: Mapping[str, Floats]
    own: tuple[str, ...] = ()


def fit_detectors(trainer, extra: ExtraScores = NO_EXTRA) -> Detectors:
    """Fit offset and choice on the support, the temperature on the selection images, and thresholds on either.

    No outlier is seen. A training-free method has thresholds from its support images, each scored by a head that was
    built without it and without the images of other classes that are left out in the same turn. Other methods have
    thresholds from the selection images.
    """
    detectors = Detectors(trainer.clip.logit_scale)
    if len(trainer.task.support_labels) and has_sides(trainer.head):
        detectors = replace(detectors, **_fitted_on_support(trainer))
    found, source = {}, ""
    if trainer.num_val:
        more = extra.of(selection_images(trainer.cfg, trainer.dm.dataset)) if extra.names else {}
        held_out = score(trainer, trainer.head, trainer.validation, detectors)
        detectors = replace(detectors, temperature=steady_temperature(held_out.logits, held_out.labels)[0].value)
        found, source = {**score(trainer, trainer.head, trainer.validation, detectors).scores, **more}, SELECTION
    if (
        trainer.training_free
        and type(trainer).fit is VLTrainer.fit
        and (left_out := _left_out_scores(trainer, detectors))
    ):
        found, source = {**found, **left_out}, SUPPORT
    thresholds = {name: conformal_threshold(values, RECALL) for name, values in found.items()}
    return replace(detectors, thresholds=thresholds, thresholds_from=source)


def _left_out_scores(trainer, detectors: Detectors) -> dict[str, Floats]:
    """Scores (N,) by name of support images, by heads that have not seen them; empty if a class has only one image, or
    if the method cannot do with one image less.

    In turn r the r-th image of each class is left out, so there are as many heads as a class has images.
    """
    task: FewShotTask = trainer.task
    labels, classes = task.support_labels.cpu(), torch.arange(task.num_classes)
    places = torch.zeros_like(labels)
    for label in labels.unique():
        places[labels == label] = torch.arange(int((labels == label).sum()))
    if not len(labels) or len(labels.unique()) < len(classes) or min(labels.bincount()) < 2:
        return {}
    parts: list[Mapping[str, Floats]] = []
    for turn in range(int(places.max()) + 1):
        rows = places == turn
        try:
            head = trainer.build_head(_part_of(task, classes, ~rows, False), trainer.node).to(trainer.device).eval()
        except ValueError as error:  # GDA needs two rows of some class for its covariance
            log.info("Thresholds do not come from the support, because no image can be left out. %s", error)
            return {}
        if isinstance(head, SearchableHead):
            head.hparams.update(trainer.head.hparams)
        batch = {"img": task.support_features[0, rows], "label": labels[rows]}
        parts.append(score(trainer, head, [batch], detectors).scores)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def has_sides(head: Head) -> bool:
    """Whether a head has a positive and a negative side."""
    return type(head).sides is not Head.sides


@torch.no_grad()
def score(trainer, head: Head, batches: Iterable[Mapping[str, Tensor]], detectors: Detectors) -> Scored:
    """Scores of images by every detector; larger scores mean known classes.

    Raises:
        ValueError: logits are NaN or infinite. The message names the method.
    """
    head.eval()
    logits, labels, sides, texts, own = [], [], [], [], []
    for batch in batches:
        images = batch["img"].to(trainer.device)
        logits.append(head(images).double().cpu())
        labels.append(batch["label"].cpu())
        sides.append(_numbers(head, images))
        texts.append(_text_logits(trainer, images))
        own.append({name: values.double().cpu() for name, values in head.own_scores(images).items()})
    try:
        rows, truth = checked(torch.cat(logits).numpy(), torch.cat(labels).numpy())
    except ValueError as error:
        raise ValueError(f"{type(trainer).__name__} gives logits that cannot be scored: {error}") from error
    found = _sides(head, sides, detectors.scale)
    values = _all_scores(rows, found, _joined(texts), detectors)
    values |= {name: torch.cat([part[name] for part in own]).numpy() for name in own[0]}
    return Scored(rows, truth, found, values, tuple(own[0]))


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
    """Logits of the frozen positive and negative templates, (B, C) each; empty without negative templates."""
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
    """The AUROC of each score on a pseudo-open set: half of the classes are left out, and one shot of the others held
    out.

    The head is built from the remaining rows with the hyper-parameters of the run, and learns nothing. If a class has
    one shot, its last view is held out, and its key is the mean of the other views. None if that is impossible.
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
    """A mask (N,) with one known row of each class that has several; `number` decides which one."""
    held_out = torch.zeros_like(known)
    for label in labels[known].unique():
        rows = (known & (labels == label)).nonzero().flatten()
        if len(rows) > 1:
            held_out[rows[number % len(rows)]] = True
    return held_out


def _numbers(head: Head, features: Tensor) -> dict[str, Tensor]:
    return {name: value.double().cpu() for name, value in head.sides(features).items()}


def _part_of(task: FewShotTask, kept: Tensor, rows: Tensor, without_last_view: bool) -> FewShotTask:
    """The task of the sorted classes `kept`, (C',), with the rows of the support in the mask `rows`, (N,)."""
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
