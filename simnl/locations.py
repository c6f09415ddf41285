"""The places of the files that come with the program: in a clone of the repository, or in an installed package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # the repository; of an installed package site-packages
INSTALLED = (PACKAGE / "configs").is_dir()  # a wheel has the configs in the package (setup.py)
CONFIGS = (PACKAGE if INSTALLED else ROOT) / "configs"
