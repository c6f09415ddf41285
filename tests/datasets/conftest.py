"""Every data set in its own layout, small (`helpers/miniatures.py`)."""

from helpers.miniatures import (  # noqa: F401 - fixtures
    build,
    evaluated,
    flat,
    json_name,
    load,
    root,
    sampler,
    shared,
    small_split,
    store,
    trained,
)
