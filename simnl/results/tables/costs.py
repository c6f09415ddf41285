"""Layout `cost`: what each method costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simnl.results.tables import common
from simnl.results.tables.common import Request
from simnl.results.tables.listing import Listing, labelled_runs, mean_line, number, seeds_text, words
from simnl.results.tables.records import by_setting

COSTS = {  # column: where it stands in a record, decimals
    "trainable parameters": (("trainable_parameters",), 0),
    **{f"{phase} s": (("seconds", phase), 2) for phase in ("features", "train", "select", "test", "total")},
    "peak host MB": (("peak_memory_mb", "host"), 0),
    "peak GPU MB": (("peak_memory_mb", "gpu"), 0),
    "settings tried": (("num_settings",), 0),
    "encoded images": (("encoded_images",), 0),
}


def _key(column: str) -> str:
    return column.replace(" ", "_")


def _number_at(record: dict, path: Sequence[str]) -> float | None:
    """The number that a record has at a path of keys; None where there is none."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None


def _lines(records: Sequence[dict], request: Request) -> list[dict]:
    costly = [{**r, "figures": {_key(c): _number_at(r, path) for c, (path, _) in COSTS.items()}} for r in records]
    device = records[0].get("device", "")
    return [mean_line("cost", label, runs, device=device) for label, runs in labelled_runs(costly, request)]


COST = Listing(
    groups=lambda records, request: by_setting(records, also=["dataset", "shots", "device"]),
    lines=_lines,
    columns=lambda records, lines: {
        "method": words("label"),
        **{column: number(_key(column), decimals) for column, (_, decimals) in COSTS.items()},
    },
    title=lambda records, request: common.titled(f"Cost on {common.place_text(records[0])}", records[0]),
    caption=lambda records, lines, request: [
        *common.runs_caption(records[0], records),
        f"Device: {records[0].get('device') or 'not recorded'}.",
        f"{seeds_text(lines)} Seconds and encoded images depend on what was in the feature store: the first run on "
        "some images encodes them for all others. Memory is the peak of the process, which may have done other runs "
        "before.",
    ],
)
