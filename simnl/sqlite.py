"""Tell a broken SQLite file, which can be built anew, from a fault of the system, which only a user can mend."""

from __future__ import annotations

import sqlite3

SQL_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)  # UnicodeDecodeError: the message holds a damaged name
# Operational errors are faults of the system (a full disk, a lock, a missing permission), except these of broken files.
BROKEN = ("malformed", "no such column", "no such table", "has no column", "syntax error", "decode", "unsupported file")


def is_damage(error: Exception) -> bool:
    """True for an error of `SQL_ERRORS` that a broken file causes."""
    return not isinstance(error, sqlite3.OperationalError) or any(text in str(error) for text in BROKEN)
