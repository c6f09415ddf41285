"""Read the MATLAB annotation files that two data sets come with; only a new split needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def load_mat(path: Path, variable: str) -> np.ndarray:
    """One variable of a `.mat` file, structures as objects. Raises ValueError if the file is damaged or lacks it."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False)[variable]
    except (MatReadError, ValueError, TypeError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a readable MATLAB file ({error}). Fetch it again.") from error
    except KeyError as error:
        raise ValueError(f"{path} has no variable {variable!r}. Check that it is the right file.") from error
