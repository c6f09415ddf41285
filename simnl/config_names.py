"""The names that configs go by: what is there of a kind, in which file, and what was meant by an unknown name.

A kind is `trainers`, `datasets` or `backbones`. Its yaml files lie in configs/ of this program, and in configs/ inside
the packages of other distributions that announce plugins (`simnl.plugins`).
"""

from __future__ import annotations

import difflib
import functools
from importlib import metadata, util
from pathlib import Path

from simnl.locations import CONFIGS

GROUP = "simnl.plugins"  # the entry points under which other distributions announce packages with plugins


@functools.cache
def folders() -> tuple[Path, ...]:
    """The folders of configs: that of this program first."""
    found = [CONFIGS]
    for entry in metadata.entry_points(group=GROUP):
        spec = util.find_spec(entry.module.partition(".")[0])  # of the outermost package, which is not imported yet
        found += [Path(place) / "configs" for place in (spec.submodule_search_locations or () if spec else ())]
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def config_files(kind: str) -> dict[str, Path]:
    """The yaml files of a kind by name.

    Raises:
        ValueError: two folders have a file of one name.
    """
    found: dict[str, Path] = {}
    for path in (path for folder in folders() for path in sorted((folder / kind).glob("*.yaml"))):
        if found.setdefault(path.stem, path) != path:
            raise ValueError(f"The configs {found[path.stem]} and {path} have the same name. Rename one of them.")
    return found


def config_file(kind: str, name: str) -> Path:
    """The yaml of a name; of an unknown one where this program would have it, which then is not there."""
    return config_files(kind).get(name, CONFIGS / kind / f"{name}.yaml")


def known(kind: str) -> list[str]:
    """Names of the configs of a kind: `trainers`, `datasets` or `backbones`."""
    return sorted(config_files(kind))


def check_name(kind: str, name: str) -> str:
    """The name, if it is a config of the kind.

    Raises:
        ValueError: the message lists what is valid, and the nearest name.
    """
    names = known(kind)
    if name in names:
        return name
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f" Did you mean {by_lower[near[0]]}?" if near else ""
    raise ValueError(f"Unknown {kind[:-1].replace('dataset', 'data set')} '{name}'.{hint} Valid: {', '.join(names)}.")
