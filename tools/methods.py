"""Write the tables of docs/methods.md and docs/backbones.md, which are made from what methods declare of themselves and
from the configs of architectures.

python tools/methods.py           # write the pages
python tools/methods.py --check   # only say whether they are up to date
"""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import as_typed, parser_of
from simnl.errors import fail_politely


def pages() -> dict:
    """The tables of each page. To make them, all methods are imported."""
    from simnl.runs import backbone_table, method_table

    return {page.PAGE: page.TABLES for page in (method_table, backbone_table)}


@fail_politely
def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; the exit code is 1 if a page is out of date"
    )
    args = parser.parse_args()

    from simnl.runs.pages import write_page

    current = {path: write_page(path, tables, args.check) for path, tables in pages().items()}
    for path, is_current in current.items():
        if is_current or not args.check:
            print(f"{path} is {'up to date' if is_current else 'written'}.")
        else:
            print(as_typed(f"{path} is out of date. Run: python tools/methods.py"), file=sys.stderr)
    return int(args.check and not all(current.values()))


if __name__ == "__main__":
    sys.exit(main())
