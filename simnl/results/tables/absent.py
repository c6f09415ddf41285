"""Rows of methods without figures: `n/a` with the reason where a method cannot do the task, else missing."""

from __future__ import annotations

from functools import cache

from simnl.results.tables.model import MISSING, NOT_APPLICABLE, Cell, text
from simnl.runs.names import display_name


@cache
def reason_against(method: str, task: str, arch: str) -> str | None:
    """Why a method cannot do a task on an architecture; None if it can, or is not one of this program's."""
    from simnl.runs.capabilities import refusal  # imports every trainer, which most tables do not need

    try:
        return refusal(method, task=task, arch=arch)
    except KeyError:
        return None


def absent_cell(method: str, task: str, arch: str, notes: list[str]) -> Cell:
    """`n/a` or a missing cell; the reason of `n/a` is added to the notes, once."""
    reason = reason_against(method, task, arch)
    if not reason:
        return text(MISSING)
    note = f"n/a ({display_name(method)}): {reason.rstrip('.')}."
    if note not in notes:
        notes.append(note)
    return text(NOT_APPLICABLE)
