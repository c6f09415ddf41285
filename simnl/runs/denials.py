"""CLIPN's scores of images: how surely the texts of two towers say yes to a class and do not deny it.

    p_c = exp(s f·t_c) / (exp(s f·t_c) + exp(s f·q_c))

f is the unit feature of an image, t_c the text of class c by the frozen text tower, q_c that of the same sentences by
the second tower (`simnl.clip.no_tower`): the sum of unit features over sentences, at unit length. s is the logit scale
of the model; the authors write 100, which is that of their models.

    clipn_ctw   p_c of the class with the largest f·t_c
    clipn_atd   Σ softmax(s f·t)_c p_c

Source: Wang et al., "CLIPN for Zero-Shot OOD Detection: Teaching CLIP to Say No", ICCV 2023, arXiv:2308.12213.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simnl.clip.model import FrozenCLIP
from simnl.clip.no_tower import read_no_tower, with_no_tower
from simnl.clip.text import readable
from simnl.fewshot.inputs import open_store
from simnl.metrics.scores import Floats, yes_of_best, yes_on_average
from simnl.runs.score_inputs import Stream, constants, image_stream, unit_images, unit_texts

FORMULAS = {"clipn_ctw": yes_of_best, "clipn_atd": yes_on_average}
CLIPN_SCORES = tuple(FORMULAS)
ABSENT = "CLIPN names no file, and these scores need the second text tower that its authors trained"


@dataclass(frozen=True)
class DenialSide:
    """Scores of images against the texts of two towers.

    `rows` turns items into features, chunk by chunk. `names` are the scores that are wanted, `yes` and `no` unit text
    features of the classes, (C, D), and `scale` is s.
    """

    rows: Stream
    names: Sequence[str]
    yes: Floats
    no: Floats
    scale: float

    def scores(self, items: Sequence[Any]) -> dict[str, Floats]:
        """The scores that are wanted, (N,) each."""
        images = self.scale * unit_images(self.rows, items)
        yes, no = images @ self.yes.T, images @ self.no.T
        return {name: FORMULAS[name](yes, no) for name in self.names}


def denying_model(clip: FrozenCLIP, path: str) -> FrozenCLIP:
    """The model whose texts are those of the second tower in a file. It is made once for all runs of a process, as long
    as the file stays as it is.

    Raises:
        FileNotFoundError, ValueError: see `read_no_tower` and `with_no_tower`.
    """
    file = Path(path).expanduser()
    stamp = (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else None
    return _denying_model(clip, path, stamp)


@functools.lru_cache(maxsize=2)
def _denying_model(clip: FrozenCLIP, path: str, stamp: tuple[int, int] | None) -> FrozenCLIP:
    return with_no_tower(clip, read_no_tower(path, clip))


def denial_side(trainer, clip: FrozenCLIP, names: Sequence[str], path: str) -> DenialSide:
    """Prepare the scores for the classes of a run, with the second tower in a file.

    Raises:
        FileNotFoundError, ValueError: see `denying_model`.
    """
    denying = denying_model(clip, path)
    classes, sentences = list(map(readable, trainer.classnames)), constants("CLIPN")["SENTENCES"]
    stores = [open_store(trainer.cfg, one, progress=trainer.cfg.VERBOSE) for one in (clip, denying)]
    yes, no = (unit_texts(store, sentences, classes, "normalize-mean-normalize") for store in stores)
    return DenialSide(image_stream(stores[0]), names, yes, no, clip.logit_scale)
