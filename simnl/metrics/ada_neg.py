"""AdaNeg: the score of NegLabel with texts that move towards confident test images. Larger scores mean known.

It sees the test images as a stream of known and unknown ones, and remembers some of them. So its figures depend on the
order and the mixture of the images, unlike those of a detector that sees one image at a time.

Source: Zhang and Zhang, "AdaNeg: Adaptive Negative Proxy Guided OOD Detection with Vision-Language Models", NeurIPS
2024, and the settings of the authors' released code for ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from simnl.metrics.word_scores import Floats, Integers, grouped

TINY = np.float32(1e-8)  # within the logarithm


@dataclass
class AdaNeg:
    """A memory of images for each text.

    Attributes:
        classes, words: unit texts (C, D) and (W, D), float64.
        order, groups: of `simnl.metrics.word_scores.grouped`.
        scale: the logit scale s.
        memory: M. A text has M + 1 places, of which it takes the first and M - 1 are filled with images.
        threshold, gap: images with a score above threshold + gap (1 - threshold) count as known, and those below
            threshold - gap threshold as unknown.
        weight: the weight of the score of the texts without memory.
    """

    classes: Floats
    words: Floats
    order: Integers
    groups: int
    scale: float
    memory: int
    threshold: float
    gap: float
    weight: float
    entropies: NDArray[np.float32] = field(init=False)
    next_place: Integers = field(init=False)

    def __post_init__(self):
        count = len(self.classes) + len(self.words)
        self.entropies = np.zeros((count, self.memory + 1), np.float32)
        self.next_place = np.ones(count, np.int64)
        self._sums = np.concatenate([self.classes, self.words])
        self._images: dict[tuple[int, int], Floats] = {}

    def scores(self, images: Floats, batch: int) -> Floats:
        """Scores (N,) of a stream of unit image features (N, D), which is read `batch` rows at a time."""
        parts = [images[start : start + batch] for start in range(0, len(images), batch)]
        return np.concatenate([self._batch(part) for part in parts])

    def _batch(self, images: Floats) -> Floats:
        count = len(self.classes)
        texts = self.scale * images @ np.concatenate([self.classes, self.words]).T
        plain = self._score(texts)
        sure_known = plain > self.threshold + self.gap * (1 - self.threshold)
        sure_unknown = plain < self.threshold - self.gap * self.threshold
        for rows, part, first in ((sure_known, texts[:, :count], 0), (sure_unknown, texts[:, count:], count)):
            p = softmax(part.astype(np.float32), axis=1)
            entropies = -(p * np.log(p + TINY)).sum(1)
            for row in np.flatnonzero(rows):
                self._remember(first + int(part[row].argmax()), images[row], entropies[row])
        proxies = self._sums / np.linalg.norm(self._sums, axis=1, keepdims=True)
        return self._score(self.scale * images @ proxies.T) + self.weight * plain

    def _score(self, logits: Floats) -> Floats:
        count = len(self.classes)
        return grouped(logits[:, :count], logits[:, count:], self.order, self.groups)

    def _remember(self, text: int, image: Floats, entropy: np.float32) -> None:
        """Put an image into the next place of a text, or replace its least certain image by a more certain one."""
        place = int(self.next_place[text])
        if place == self.memory:
            place = int(self.entropies[text].argmax())
            if not entropy < self.entropies[text, place]:
                return
        else:
            self.next_place[text] += 1
        self._sums[text] += image - self._images.get((text, place), 0.0)
        self._images[text, place], self.entropies[text, place] = image, entropy
