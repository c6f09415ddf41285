"""The places of the files that come with the program."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the repository
CONFIGS = ROOT / "configs"
