"""Why a label: the terms of its logit, and the support images that spoke for it.

The terms come from the head (`Head.evidence`, `Head.support_evidence`); those of a class add up to its logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from simnl.escaping import printable
from simnl.fewshot.description import PIXELS
from simnl.fewshot.head_file import LoadedHead
from simnl.predictions.predict import Prediction

SHOWN = 5  # the number of support images that are named


@dataclass(frozen=True)
class Explanation:
    """Why an image has its label.

    Attributes:
        label, rival: the most probable class, and the second one ("" if there is none).
        logit, rival_logit: the logits of the two classes.
        terms: (name, part of the label's logit, part of the rival's logit).
        support_terms: the names of the terms to which support images add.
        support: (file name, part of the label's logit) of the support images that add most, in this order.
        note: a sentence about what cannot be explained and why; else empty.
    """

    label: str
    rival: str
    logit: float
    rival_logit: float
    terms: list[tuple[str, float, float]]
    support_terms: list[str]
    support: list[tuple[str, float]]
    note: str = ""

    def lines(self) -> list[str]:
        """The explanation as lines for a person."""
        rival = f" and not {printable(self.rival)} ({self.rival_logit:.2f})" if self.rival else ""
        width = max(len(name) for name, _, _ in self.terms)
        lines = [f"  why {printable(self.label)} ({self.logit:.2f}){rival}:"]
        for name, own, other in self.terms:
            against = f"   ({other:+8.3f} for {printable(self.rival)})" if self.rival else ""
            lines.append(f"    {name:<{width}}  {own:+8.3f}{against}")
        if self.support:
            lines.append(f"  support images that spoke for it most, of {' and '.join(self.support_terms)}:")
            lines += [f"    {value:+8.3f}  {printable(name)}" for name, value in self.support]
        return [*lines, *([f"  {self.note}"] if self.note else [])]


def explain(loaded: LoadedHead, predictions: Sequence[Prediction], shown: int = SHOWN) -> list[Explanation]:
    """Why each image has its label.

    Args:
        loaded: the head.
        predictions: the predictions of the head.
        shown: support images that are named.
    """
    if not predictions:
        return []
    inputs = torch.stack([prediction.inputs for prediction in predictions])
    best = [[index for index, _ in prediction.best(2)] for prediction in predictions]
    logits, evidence = loaded.logits(inputs), loaded.evidence(inputs)
    support = None
    if loaded.about.takes != PIXELS:
        support = loaded.support_evidence(inputs, torch.tensor([classes[0] for classes in best]))
    explanations = []
    for row, (own, *rest) in enumerate(best):
        rival = rest[0] if rest else own
        terms = [(name, float(term[row, own]), float(term[row, rival])) for name, term in evidence.items()]
        explanations.append(
            Explanation(
                label=loaded.classnames[own],
                rival=loaded.classnames[rival] if rest else "",
                logit=float(logits[row, own]),
                rival_logit=float(logits[row, rival]),
                terms=terms,
                support_terms=list(loaded.head.support_terms),
                support=[] if support is None else _strongest(support[row], loaded.about.support, shown),
                note=_note(loaded, len(evidence)),
            )
        )
    return explanations


def _strongest(values: torch.Tensor, names: Sequence[str], shown: int) -> list[tuple[str, float]]:
    """The largest positive values with the names of their images, or with their numbers if names are not known."""
    top = values.topk(min(shown, len(values)))
    known = names if len(names) == len(values) else [f"support image {i + 1}" for i in range(len(values))]
    return [(known[i], v) for i, v in zip(top.indices.tolist(), top.values.tolist(), strict=True) if v > 0]


def _note(loaded: LoadedHead, terms: int) -> str:
    method = loaded.about.method
    if terms == 1:
        return f"{method} has one classifier for each class, so its logit has no parts, and support images have none."
    return "" if loaded.head.support_terms else f"No support image has a part of its own in the logits of {method}."
