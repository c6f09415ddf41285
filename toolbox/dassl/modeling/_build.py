"""What the three `build_*` functions share."""

from __future__ import annotations

from typing import Any

from torch import nn

from dassl.utils import Registry, check_availability


def build_registered(registry: Registry, kind: str, name: str, verbose: bool, kwargs: dict[str, Any]) -> nn.Module:
    """Call what is registered as `name`; with `verbose`, print kind and name first.

    Raises:
        ValueError: nothing of this name is registered.
    """
    check_availability(name, registry.registered_names())
    if verbose:
        print(f"{kind}: {name}")
    return registry.get(name)(**kwargs)
