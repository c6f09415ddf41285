"""Telling a broken SQLite file, which can be built anew, from trouble of the system, which only a user can mend."""

from __future__ import annotations

import sqlite3

SQL_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)  # the second: a message with a damaged name in it
# Operational errors are those of the system (a full disk, a lock, a missing permission), but for these of broken files.
BROKEN = ("malformed", "no such column", "no such table", "has no column", "syntax error", "decode", "unsupported file")


def is_damage(error: Exception) -> bool:
    """True for those of `SQL_ERRORS` that a broken file gives."""
    return not isinstance(error, sqlite3.OperationalError) or any(text in str(error) for text in BROKEN)
