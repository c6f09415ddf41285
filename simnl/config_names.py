"""The names that configs go by: what is there of a kind, and what was meant by a name that is not."""

from __future__ import annotations

import difflib

from simnl.locations import CONFIGS


def known(kind: str) -> list[str]:
    """Names of the configs of a kind: `trainers`, `datasets` or `backbones`."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def check_name(kind: str, name: str) -> str:
    """The name, if it is a config of the kind.

    Raises:
        ValueError: with the list of what is valid, and the nearest name.
    """
    names = known(kind)
    if name in names:
        return name
    by_lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    hint = f" Did you mean {by_lower[near[0]]}?" if near else ""
    raise ValueError(f"Unknown {kind[:-1].replace('dataset', 'data set')} '{name}'.{hint} Valid: {', '.join(names)}.")
