"""Scores that need more than a head's logits: patches (GL-MCM), words that are no class (NegLabel, CSP, AdaNeg), or a
second text tower (CLIPN).

A user asks for them by name. What they need is prepared once for a run, before any outlier is scored. If something that
a score needs is missing, the score is left out and the reason is given. Constants: configs/scores.yaml.

    gl_mcm, l_mcm   patches and images against the method's own text features, or those of the templates
    neglabel, csp   images against the frozen texts of classes and of far words; equal for all methods
    adaneg          the same, adapted to the stream of known and unknown test images: a test-time method
    clipn_ctw, clipn_atd   images against texts of the frozen tower and of the second one (simnl.runs.denials)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from simnl.clip.model import FrozenCLIP
from simnl.clip.patches import with_patches
from simnl.clip.store import FeatureStore
from simnl.clip.text import readable
from simnl.data.wordnet import Words, read_words
from simnl.fewshot.inputs import load_backbone, open_store
from simnl.files import sha256_of
from simnl.metrics.ada_neg import AdaNeg
from simnl.metrics.scores import Floats, local_mcm, mcm
from simnl.metrics.word_scores import Integers, farthest, grouped, grouping, nearness
from simnl.runs.denials import ABSENT, CLIPN_SCORES, DenialSide, denial_side
from simnl.runs.score_inputs import Stream, constants, image_stream, unit_images, unit_texts

PATCH_SCORES, WORD_SCORES, ADANEG = ("gl_mcm",), ("neglabel", "csp"), "adaneg"
OF_WORDS = (*WORD_SCORES, ADANEG)
EXTRA = (*PATCH_SCORES, *OF_WORDS, *CLIPN_SCORES)
RAW_MEAN = "mean-normalize"  # how texts of words are averaged over templates
PROMPTS = 32768  # that are in memory at once
MARK = " (test-time)"  # behind the name of a score that depends on the stream of test images


@dataclass(frozen=True)
class FarWords:
    """Unit text features of classes (C, D) and of the chosen words (W, D), and the groups of the words."""

    classes: Floats
    words: Floats
    order: Integers
    groups: int


@dataclass(frozen=True)
class PatchSide:
    """Scores of patches against texts.

    `rows` turns items into features with patches, chunk by chunk. `texts` are unit rows (C, D).
    """

    rows: Stream
    texts: Floats

    def scores(self, items: Sequence[Any]) -> dict[str, Floats]:
        """The scores `gl_mcm` and `l_mcm`, (N,) each."""
        parts = [self._of(chunk) for chunk in self.rows(items)]
        whole, local = (np.concatenate(column) for column in zip(*parts, strict=True))
        return {"gl_mcm": whole + constants("GL_MCM")["WEIGHT"] * local, "l_mcm": local}

    def _of(self, rows: torch.Tensor) -> tuple[Floats, Floats]:
        """MCM of images and of their patches, (N,) each. `rows` is (N, (1 + G) D)."""
        unit = F.normalize(rows.unflatten(1, (-1, self.texts.shape[1])), dim=-1).double().numpy()
        cosines = unit @ self.texts.T
        return mcm(cosines[:, 0]), local_mcm(cosines[:, 1:])


@dataclass(frozen=True)
class WordSide:
    """Scores of images against words.

    `rows` turns items into features, chunk by chunk. `far` has the words by score, `scale` is s, `seed` that of the
    run.
    """

    rows: Stream
    far: Mapping[str, FarWords]
    scale: float
    seed: int

    def scores(self, items: Sequence[Any]) -> dict[str, Floats]:
        """The scores `neglabel` and `csp`, (N,) each, if they are prepared."""
        far = {name: self.far[name] for name in WORD_SCORES if name in self.far}
        images = unit_images(self.rows, items) if far else np.zeros(0)
        logits = {name: (self.scale * images @ f.classes.T, self.scale * images @ f.words.T) for name, f in far.items()}
        return {name: grouped(*logits[name], f.order, f.groups) for name, f in far.items()}

    def at_test_time(self, known: Sequence[Any], unknown: Sequence[Any]) -> dict[str, tuple[Floats, Floats]]:
        """The score `adaneg` of known and unknown images in one stream, whose order is a function of the seed."""
        if ADANEG not in self.far:
            return {}
        far, node = self.far[ADANEG], constants("ADANEG")
        memory = AdaNeg(
            far.classes, far.words, far.order, far.groups, self.scale,
            node["MEMORY"], node["THRESHOLD"], node["GAP"], node["WEIGHT"],
        )  # fmt: skip
        images = np.concatenate([unit_images(self.rows, known), unit_images(self.rows, unknown)])
        order = np.random.default_rng(self.seed).permutation(len(images))
        scores = np.empty(len(images))
        scores[order] = memory.scores(images[order], node["BATCH"])
        return {f"{ADANEG}{MARK}": (scores[: len(known)], scores[len(known) :])}


@dataclass(frozen=True)
class ExtraScores:
    """The extra scores of a run.

    Attributes:
        names: the names of the scores that were asked for.
        missing: the reasons why scores are left out, by name.
        patches, words, denials: what computes the scores; None if there is no such score.
        digest: the digest of all words; empty if no words are used.
        tower: the SHA-256 (hex) of the file of the second tower; empty if there is none.
    """

    names: Sequence[str] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    patches: PatchSide | None = None
    words: WordSide | None = None
    denials: DenialSide | None = None
    digest: str = ""
    tower: str = ""

    def of(self, items: Sequence[Any]) -> dict[str, Floats]:
        """Scores (N,) by name, of each image by itself. `items` have an `impath`."""
        sides = [side for side in (self.patches, self.words, self.denials) if side]
        return {name: values for side in sides for name, values in side.scores(items).items()}

    def described(self) -> dict[str, Any]:
        """What was asked for, what is left out and why, and what the scores were made with, for detection.json."""
        asked, missing = sorted(self.names), dict(self.missing)
        return {"asked": asked, "missing": missing, "words": self.digest, "clipn": self.tower}

    def at_test_time(self, known: Sequence[Any], unknown: Sequence[Any]) -> dict[str, tuple[Floats, Floats]]:
        """Scores of known (N,) and unknown images (M,) by name, which depend on all of these images."""
        return self.words.at_test_time(known, unknown) if self.words else {}


def check_names(names: Sequence[str]) -> None:
    """Check that there are scores of these names.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in EXTRA]
    if unknown:
        raise ValueError(f"SCORES names the unknown score '{unknown[0]}'. Choose from {', '.join(EXTRA)}, or `all`.")


def prepare(trainer, names: Sequence[str], wordnet: str = "", clipn: str = "") -> ExtraScores:
    """Prepare the scores of these names for the run of a trainer. No test image and no outlier is looked at.

    `wordnet` says where the words are (`simnl.data.wordnet`), and `clipn` is the file of the second tower
    (`simnl.clip.no_tower`).

    Raises:
        ValueError: a name is unknown, the words cannot be read, or the file holds no second tower for the backbone.
        FileNotFoundError: `wordnet` or `clipn` names no file or folder.
    """
    check_names(names)
    if not names:
        return ExtraScores()
    clip = load_backbone(trainer.cfg.MODEL.BACKBONE, trainer.device)
    missing: dict[str, str] = {}
    patches = _patch_side(trainer, clip, missing) if set(names) & set(PATCH_SCORES) else None
    of_words, of_towers = ([name for name in names if name in kind] for kind in (OF_WORDS, CLIPN_SCORES))
    words, digest, denials, tower = None, "", None, ""
    if of_words:
        try:
            found = read_words(wordnet)
            words, digest = _word_side(trainer, clip, of_words, found, missing), found.digest
        except FileNotFoundError as error:
            if wordnet:
                raise
            missing |= dict.fromkeys(of_words, str(error).rstrip("."))
    if clipn and of_towers:
        denials, tower = denial_side(trainer, clip, of_towers, clipn), sha256_of(Path(clipn).expanduser())
    else:
        missing |= dict.fromkeys(of_towers, ABSENT)
    return ExtraScores(tuple(names), missing, patches, words, denials, digest, tower)


def _patch_side(trainer, clip: FrozenCLIP, missing: dict[str, str]) -> PatchSide | None:
    name = PATCH_SCORES[0]
    if not trainer.image_encoder_frozen or trainer.before_projection:
        missing[name] = "the method changes the image tower, and patches are those of the frozen one"
        return None
    with torch.no_grad():
        texts = trainer.head.texts()
    if texts is None and "template" not in trainer.task.prompts:
        missing[name] = "the method has no text features"
        return None
    try:
        store = open_store(trainer.cfg, with_patches(clip), progress=trainer.cfg.VERBOSE)
    except ValueError as error:
        missing[name] = str(error).rstrip(".")
        return None
    texts = trainer.task.text_features("template") if texts is None else texts
    return PatchSide(image_stream(store), texts.double().cpu().numpy())


def _word_side(
    trainer, clip: FrozenCLIP, names: Sequence[str], words: Words, missing: dict[str, str]
) -> WordSide | None:
    store, far = open_store(trainer.cfg, clip, progress=trainer.cfg.VERBOSE), {}
    for name in names:
        try:
            far[name] = far_words(store, constants(name.upper()), list(map(readable, trainer.classnames)), words)
        except ValueError as error:
            missing[name] = str(error)
    return WordSide(image_stream(store), far, clip.logit_scale, trainer.cfg.SEED) if far else None


def far_words(store: FeatureStore, node: Mapping[str, Any], classes: Sequence[str], words: Words) -> FarWords:
    """The words that are farthest from the classes; nouns and adjectives are chosen separately.

    Args:
        store: the feature store, which encodes and stores texts.
        node: the constants of the score.
        classes: the C class names.
        words: the nouns, then the adjectives that are not nouns.

    Raises:
        ValueError: there are so few words that none is left.
    """
    nouns, adjectives = (words.of(kind, node.get("WITHOUT", ())) for kind in ("noun", "adj"))
    as_nouns = set(nouns)
    adjectives = [word for word in adjectives if word not in as_nouns]
    if "SUPERCLASSES" in node:  # CSP writes a blank as `_` in its sentences
        draw = random.Random(0)
        nouns = list(map(readable, nouns))
        adjectives = [f"{readable(word)} {draw.choice(node['SUPERCLASSES'])}" for word in adjectives]
    known, total = unit_texts(store, node["CLASSES"], classes, RAW_MEAN), len(nouns) + len(adjectives)
    kept: list[Floats] = []
    for part, templates in ((nouns, node.get("NOUNS", node["CLASSES"])), (adjectives, node["ADJECTIVES"])):
        if part:
            near = [nearness(texts, known, node.get("CEILING")) for texts in _in_parts(store, templates, part)]
            rows = farthest(np.concatenate(near), node["SHARE"])
            rows = rows[: node["MOST"] * len(part) // total if "MOST" in node else None]
            kept += _in_parts(store, templates, [part[row] for row in rows])
    far = np.concatenate(kept) if kept else known[:0]
    if not len(far):
        raise ValueError(f"{total} words are too few, because only a share of {node['SHARE']} is used. Give more words")
    groups = min(node["GROUPS"], len(far))
    return FarWords(known, far, grouping(len(far), groups), groups)


def _in_parts(store: FeatureStore, templates: Sequence[str], words: Sequence[str]) -> Iterator[Floats]:
    """The rows of `unit_texts`, part by part: all words of WordNet at once would take gigabytes."""
    size = max(1, PROMPTS // len(templates))
    return (unit_texts(store, templates, words[start : start + size], RAW_MEAN) for start in range(0, len(words), size))
