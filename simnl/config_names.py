"""The names of configs: which names there are of each kind, in which file each lies, and what a wrong name may mean.
Also the check of a word among the choices of a key.

A kind is `trainers`, `datasets` or `backbones`. Its yaml files lie in configs/ of this program, and in configs/ inside
the packages of other distributions that announce plugins (`simnl.plugins`).
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from importlib import metadata, util
from pathlib import Path

from simnl.locations import CONFIGS

GROUP = "simnl.plugins"  # the entry points under which other distributions announce packages with plugins


@functools.cache
def folders() -> tuple[Path, ...]:
    """The folders of configs; the folder of this program comes first."""
    found = [CONFIGS]
    for entry in metadata.entry_points(group=GROUP):
        spec = util.find_spec(entry.module.partition(".")[0])  # finds the outermost package without importing it
        found += [Path(place) / "configs" for place in (spec.submodule_search_locations or () if spec else ())]
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def config_files(kind: str) -> dict[str, Path]:
    """The yaml files of a kind, by their names.

    Raises:
        ValueError: two folders have a file of the same name.
    """
    found: dict[str, Path] = {}
    for path in (path for folder in folders() for path in sorted((folder / kind).glob("*.yaml"))):
        if found.setdefault(path.stem, path) != path:
            raise ValueError(f"The configs {found[path.stem]} and {path} have the same name. Rename one of them.")
    return found


def config_file(kind: str, name: str) -> Path:
    """The yaml file of a name. For an unknown name, the path that it would have in this program."""
    return config_files(kind).get(name, CONFIGS / kind / f"{name}.yaml")


def known(kind: str) -> list[str]:
    """The names of all configs of a kind: `trainers`, `datasets` or `backbones`."""
    return sorted(config_files(kind))


def check_name(kind: str, name: str) -> str:
    """Return the name if a config of this kind has it.

    Raises:
        ValueError: there is no such config. The message lists the valid names and the nearest one.
    """
    names = known(kind)
    if name in names:
        return name
    by_lower = {known_name.lower(): known_name for known_name in names}
    begun = [one for one in by_lower if name and one.startswith(name.lower())]
    near = begun[:1] or difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f" Did you mean {by_lower[near[0]]}?" if near else ""
    if kind == "datasets" and "/" in name:
        hint = " For a folder of your own images give the name imagefolder, and DATASET.FOLDER with its absolute path."
    what = {"trainers": "method", "datasets": "data set"}.get(kind, kind.removesuffix("s"))
    raise ValueError(f"Unknown {what} '{name}'.{hint} Valid: {', '.join(names)}.")


def check_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a word that a config key cannot have.

    Raises:
        ValueError: the message names the key, the word and the choices.
    """
    if value not in (words := list(choices)):
        raise ValueError(f"{key} is '{value}'. Choose one of {', '.join(words)}.")
