"""The exception of failed checks."""

from __future__ import annotations

__all__ = ["CheckError"]


class CheckError(ValueError, AssertionError):
    """An argument or setting is not allowed.

    A ValueError that is an AssertionError too: upstream checks with `assert`, and callers may catch that.
    Unlike `assert`, it is raised under `python -O` as well.
    """
