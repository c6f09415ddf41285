"""Where the files that come with the program lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the repository
CONFIGS = ROOT / "configs"
