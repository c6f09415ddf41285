"""What pyproject.toml cannot say: packages that lie elsewhere in the repository, and where requirements stand.

A wheel has the library (`simnl`), the methods (`trainers`), the configs (as `simnl/configs`) and the engine (as
`simnl/_engine/dassl`, which `simnl/__init__.py` takes where no `dassl` is installed, so that a Dassl of one's own stays
as it is). Data sets, tools, scripts and tests are used from a clone and never installed.
"""

from itertools import chain
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

ROOT = Path(__file__).resolve().parent
ELSEWHERE = {"simnl.configs": "configs", "simnl._engine": "toolbox"}


def requirements(name: str) -> list[str]:
    """The packages that a file of requirements names, without what it installs from this repository."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


configs = ["simnl.configs", *(f"simnl.configs.{name}" for name in find_namespace_packages("configs"))]
engine = [f"simnl._engine.{name}" for name in find_packages("toolbox", include=["dassl*"])]
EXTRAS = {name: requirements(f"requirements-{name}.txt") for name in ("export", "transformers", "demo")}

setup(
    packages=[*find_packages(include=["simnl*", "trainers*"]), *configs, *engine],
    package_dir=ELSEWHERE,
    install_requires=requirements("requirements.txt"),
    extras_require={"dev": [*requirements("requirements-dev.txt"), *chain.from_iterable(EXTRAS.values())], **EXTRAS},
)
