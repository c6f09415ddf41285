"""Scores of whether an image shows a known class, (N,) float64 each; larger scores mean known.

`logits` are (N, C) at the scale of the model, `cosines` (N, C) are logits without that scale. The literature has two
conventions of temperature, which rank images differently: the softmax of cosines / T with T = 1
(MCM), and the softmax of logits / T (OpenOOD), which is MCM with T = 1/scale. Names say which it is: `mcm@T1`, `msp`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax, xlogy

Floats = NDArray[np.float64]


def msp(logits: Floats, temperature: float = 1.0) -> Floats:
    """Largest probability, max_c softmax_c(l / T). Source: Hendrycks and Gimpel, ICLR 2017."""
    return softmax(logits / temperature, axis=1).max(1)


def mcm(cosines: Floats, temperature: float = 1.0) -> Floats:
    """Maximum concept matching, max_c softmax_c(z / T) of cosines z. Source: Ming et al., NeurIPS 2022."""
    return msp(cosines, temperature)


def local_mcm(cosines: Floats, temperature: float = 1.0) -> Floats:
    """The largest probability of any patch, max_gc softmax_c(z_g / T), (N,). Source: Miyai et al., GL-MCM.

    cosines: of patches, (N, G, C).
    """
    return softmax(cosines / temperature, axis=2).max((1, 2))


def maxlogit(logits: Floats) -> Floats:
    """Largest logit; of cosines the same ranking."""
    return logits.max(1)


def energy(logits: Floats, temperature: float = 1.0) -> Floats:
    """T log sum_c exp(l_c / T), minus the energy. Source: Liu et al., NeurIPS 2020."""
    return temperature * logsumexp(logits / temperature, axis=1)


def negative_entropy(logits: Floats, temperature: float = 1.0) -> Floats:
    """sum_c p_c log p_c with p = softmax(l / T)."""
    p = softmax(logits / temperature, axis=1)
    return xlogy(p, p).sum(1)


def yes_of_best(yes: Floats, no: Floats) -> Floats:
    """p_c of the class with the largest yes logit, p_c = exp(yes) / (exp(yes) + exp(no)). Source: CLIPN (CTW).

    yes, no: logits of asserting and of denying texts, (N, C). With the texts of CLIPN's own second tower this is
    CLIPN; with negative prompts of an ordinary tower it is a different method.
    """
    best = yes.argmax(1)[:, None]
    return np.take_along_axis(expit(yes - no), best, axis=1)[:, 0]


def yes_on_average(yes: Floats, no: Floats) -> Floats:
    """sum_c softmax_c(yes) p_c, with p of `yes_of_best`. Source: CLIPN (ATD)."""
    return (softmax(yes, axis=1) * expit(yes - no)).sum(1)


LOGIT_SCORES: dict[str, Callable[[Floats, float], Floats]] = {
    "msp": lambda logits, scale: msp(logits),
    "maxlogit": lambda logits, scale: maxlogit(logits),
    "energy": lambda logits, scale: energy(logits),
    "mcm@T1": lambda logits, scale: mcm(logits / scale),
    "entropy@T1": lambda logits, scale: negative_entropy(logits / scale),
}
"""What any method's logits give, by name: functions of the logits and of the model's logit scale."""
