"""Methods that look at the test images, in tables: a mark after the name, and a footnote."""

from __future__ import annotations

from collections.abc import Iterable

from simnl.fewshot.capabilities import INFERENCE
from simnl.runs.names import display_name

MARKS = {"transductive": "†", "online": "‡"}


def mark_of(record: dict) -> str:
    """The mark of a run's method; empty for a run in which each test image stood alone, as in all older records."""
    return MARKS.get(record.get("inference", ""), "")


def marked_name(record: dict) -> str:
    """The display name of a run's method, marked."""
    return display_name(record["method"]) + mark_of(record)


def footnotes(records: Iterable[dict]) -> list[str]:
    """What the marks of these runs mean, in plain words; nothing where there is none."""
    there = {record.get("inference", "") for record in records}
    found = [f"{mark} ({kind}): {INFERENCE[kind]}" for kind, mark in MARKS.items() if kind in there]
    return [f"{'; '.join(found)}. Such figures are not ranked with the others."] if found else []
