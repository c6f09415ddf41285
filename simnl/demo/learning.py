"""Learn a `Lesson` with `FewShotClassifier`, and label and explain pictures with the result.

This module imports PyTorch, so it is imported only after the page has opened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dassl.engine import TRAINER_REGISTRY
from simnl.classifier import FewShotClassifier
from simnl.classifier.training import make_config
from simnl.clip.text import PromptSet
from simnl.config_names import known
from simnl.demo.lesson import Lesson, Setup
from simnl.fewshot.head_file import LoadedHead
from simnl.fewshot.inputs import load_backbone
from simnl.plugins import load_plugins
from simnl.predictions.explain import Explanation, explain
from simnl.predictions.predict import Prediction
from simnl.runs.backbones import TINY_BACKBONE
from simnl.runs.capabilities import refusal
from simnl.runs.devices import pick_device
from simnl.runs.names import display_name

PICTURES = 40  # pictures that are labelled at once
SHOWN = 5  # classes whose probabilities are kept
SUPPORT = 8  # support pictures that are named
CONSTANTS = "imagefolder"  # the config that gives templates and constants
Probabilities = tuple[tuple[int, float], ...]  # class and probability, the most probable first


@dataclass(frozen=True)
class Method:
    """A method that can be chosen.

    Attributes:
        name, title: its registered name, and the name that the page shows.
        kind: how it learns, in words.
        prompts, negative, sentences: whether it reads templates, negative templates, and sentences about classes.
    """

    name: str
    title: str
    kind: str
    prompts: bool
    negative: bool
    sentences: bool


@dataclass(frozen=True)
class Model:
    """The frozen CLIP that was loaded, and what can be done with it.

    Attributes:
        backbone, weights: as in `Setup`.
        device: `cpu` or `cuda`.
        is_tiny: True for the bundled tiny CLIP, which knows rendered figures only.
        methods: the methods that work with it.
        templates, negative_templates: the default prompts.
    """

    backbone: str
    weights: str
    device: str
    is_tiny: bool
    methods: tuple[Method, ...]
    templates: tuple[str, ...]
    negative_templates: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """What was learned, or came from a file.

    Attributes:
        key: the key of the lesson.
        number: the number by which the page asks for the evidence of this fit.
        classifier: the fitted classifier.
        support: the number of the picture for each name of a support image.
        seconds: the time that learning took.
        pictures: the number of pictures that taught it; 0 for a head file.
    """

    key: str
    number: int
    classifier: FewShotClassifier
    support: dict[str, int]
    seconds: float
    pictures: int

    @property
    def head(self) -> LoadedHead:
        """The trained head."""
        return self.classifier.head_


def open_model(setup: Setup) -> Model:
    """Load the frozen CLIP, once per process, and say what can be done with it.

    Raises:
        ValueError, OSError, RuntimeError: the backbone is unknown, or its weights or the GPU are missing.
    """
    device = "cuda" if pick_device(setup.device) else "cpu"
    load_plugins()
    cfg = make_config(
        method="ZeroshotCLIP", backbone=setup.backbone, weights=setup.weights or None, constants_of=CONSTANTS,
        settings={"USE_CUDA": device == "cuda"}, options=None,
    )  # fmt: skip
    clip = load_backbone(cfg.MODEL.BACKBONE, torch.device(device))
    return Model(
        backbone=setup.backbone,
        weights=setup.weights,
        device=device,
        is_tiny=cfg.MODEL.BACKBONE.NAME == TINY_BACKBONE,
        methods=tuple(_methods(clip.arch)),
        templates=tuple(cfg.PROMPTS.POSITIVE),
        negative_templates=tuple(cfg.PROMPTS.NEGATIVE),
    )


def _methods(arch: str) -> Iterator[Method]:
    """The methods that learn from pictures, label each by itself, and work with an architecture."""
    for name in known("trainers"):
        trainer: Any = TRAINER_REGISTRY.get(name)
        if refusal(name, arch=arch) or trainer.inference != "inductive":
            continue
        kind = "Learns on stored features"
        if not trainer.image_encoder_frozen:
            kind = "Learns inside the towers: slow"
        elif not trainer.text_features_cached:
            kind = "Learns prompts: slower"
        elif trainer.training_free:
            kind = "Needs no training"
        needed, optional = trainer.prompt_sets, trainer.optional_prompt_sets
        yield Method(name, display_name(name), kind, "template" in needed, "negative" in needed, "cupl" in optional)


def learn(lesson: Lesson, model: Model, number: int, folder: Path) -> Fit:
    """Fit the method of a lesson, or load its head file.

    Args:
        lesson: a lesson of which nothing is missing.
        model: the result of `open_model`.
        number: the number of the fit.
        folder: the folder in which features are kept.

    Raises:
        ValueError, OSError, FloatingPointError: the message says what is wrong, where, and what to do.
    """
    start = time.perf_counter()
    if lesson.head is not None:
        path, name = lesson.head
        try:
            classifier = FewShotClassifier.load(path, weights=model.weights, device=model.device, cache=folder)
            classifier.head_.encoder(weights=model.weights)  # its backbone is there, and is the right one
        except (ValueError, OSError) as error:
            raise ValueError(str(error).replace(str(path), name)) from error
        return Fit(lesson.key, number, classifier, {}, time.perf_counter() - start, 0)
    classifier = FewShotClassifier(
        lesson.method, backbone=model.backbone, weights=model.weights or None, templates=lesson.templates,
        negative_templates=lesson.negative_templates, cupl=_sentences(lesson, model), constants_of=CONSTANTS,
        device=model.device, cache=folder,
    )  # fmt: skip
    classifier.fit([path for _, path, _ in lesson.examples], [name for _, _, name in lesson.examples])
    pictures = {Path(path).name: one for one, path, _ in lesson.examples}
    return Fit(lesson.key, number, classifier, pictures, time.perf_counter() - start, len(lesson.examples))


def _sentences(lesson: Lesson, model: Model) -> dict[str, list[str]] | None:
    """Sentences about each class. A class without any gets those of the templates. None if no class has any."""
    if not lesson.sentences:
        return None
    templates = lesson.templates or model.templates
    filled = {name: list(PromptSet.from_templates(templates, [name]).prompts) for name in lesson.names}
    return filled | {name: list(sentences) for name, sentences in lesson.sentences.items()}


def label(fit: Fit, paths: Sequence[str]) -> list[Probabilities]:
    """The most probable classes of pictures."""
    return [tuple(one.best(SHOWN)) for one in _predictions(fit, paths)]


def why(fit: Fit, path: str) -> Explanation:
    """Why a picture has its label."""
    return explain(fit.head, _predictions(fit, [path]), SUPPORT)[0]


def _predictions(fit: Fit, paths: Sequence[str]) -> list[Prediction]:
    inputs = fit.classifier.encode(paths)
    rows = zip(paths, fit.head.probabilities(inputs), inputs, strict=True)
    return [Prediction(*row) for row in rows]
