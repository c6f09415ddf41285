"""The places of the files that come with the program."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the repository
CONFIGS = ROOT / "configs"


def default_cache() -> str:
    """Where features, draws and rendered images are kept unless CACHE says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "simnl")
