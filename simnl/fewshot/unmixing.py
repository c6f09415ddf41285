"""Unmixing of features: whitening, and the rotation to independent components.

A product of unmixed rows, (U x).(U y), does not depend on the rotation, because U^T U is always the inverse covariance.
A method that only needs such products can do without the rotation.
"""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor

from simnl.fewshot.loaders import seeded_generator

log = logging.getLogger(__name__)

ROWS_PER_COMPONENT = 5  # fewer rows do not determine a component's variance
ICA_ROWS = 20_000  # the most rows that are used for the rotation
FLOOR = 1e-6  # an eigenvalue counts as at least this share of the largest
ITERATIONS = 200


def whitening(rows: Tensor) -> Tensor:
    """Unit-variance principal components: U with U cov(rows) U^T = I.

    Args:
        rows: (n, D).

    Returns:
        (R, D) in the type of the rows, R = min(D, n / 5), at least 1; the components of largest variance first.
    """
    centred = (rows - rows.mean(0)).double()
    number = max(1, min(rows.shape[1], len(rows) // ROWS_PER_COMPONENT))
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    values, vectors = values.flip(0)[:number], vectors.flip(1)[:, :number]
    spread = values.clamp(min=FLOOR * values[0].item()).clamp(min=1e-12).sqrt()  # second clamp: equal rows
    return (vectors / spread).T.to(rows.dtype).contiguous()


def unmixing(rows: Tensor, seed: int) -> Tensor:
    """The whitening, rotated to components that are as independent as FastICA makes them.

    Args:
        rows: (n, D).
        seed: the seed of the initial rotation, and of the choice of rows if there are more than 20,000.

    Returns:
        (R, D), as in `whitening`.
    """
    from sklearn.decomposition import FastICA  # imported here because it takes a second
    from sklearn.exceptions import ConvergenceWarning

    white = whitening(rows)
    some = torch.randperm(len(rows), generator=seeded_generator(seed, "unmixing"))[:ICA_ROWS]
    sample = (rows[some.to(rows.device)] - rows.mean(0)) @ white.T
    ica = FastICA(whiten=False, max_iter=ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(sample.double().cpu().numpy())
    if ica.n_iter_ >= ITERATIONS:
        log.info("FastICA stopped after %d iterations, before it converged.", ITERATIONS)
    return torch.from_numpy(ica.components_).to(white) @ white
