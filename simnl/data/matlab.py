"""Read the MATLAB annotation files that two data sets come with; only a new split needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def load_mat(path: Path, variable: str) -> np.ndarray:
    """One variable of a `.mat` file, structures as objects. ValueError if damaged or without it."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False)[variable]
    except (MatReadError, ValueError, TypeError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is no readable MATLAB file ({error}); fetch it again.") from error
    except KeyError as error:
        raise ValueError(f"{path} has no variable {variable!r}: is it the right file?") from error
