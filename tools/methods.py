"""Write the tables of docs/methods.md, which are made from the docstrings and declarations of the methods.

python tools/methods.py           # write the page
python tools/methods.py --check   # only say whether it is up to date
"""

from __future__ import annotations

import argparse
import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.runs.method_table import PAGE, filled


@fail_politely
def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=as_typed(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page is out of date")
    args = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page)
    if new == page:
        print(f"{PAGE} is up to date.")
        return 0
    if args.check:
        print(as_typed(f"{PAGE} is out of date. Run: python tools/methods.py"), file=sys.stderr)
        return 1
    write_text_atomically(PAGE, new)
    print(f"{PAGE} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
