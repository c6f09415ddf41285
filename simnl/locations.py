"""The places of the files that come with the program: in a clone of the repository, or in an installed package."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # the repository; for an installed package, site-packages
INSTALLED = (PACKAGE / "configs").is_dir()  # a wheel has the configs in the package (setup.py)
CONFIGS = (PACKAGE if INSTALLED else ROOT) / "configs"


def default_cache() -> str:
    """The folder of features, draws and rendered images unless CACHE names another one."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "simnl")
