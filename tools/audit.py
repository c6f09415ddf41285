"""What is choosing on the test images worth? Every protocol on the same draws, method by method.

python tools/audit.py shapes 16                                 # all methods that work on cached features
python tools/audit.py shapes 4 16 --methods SimNL TipAdapterF   # flags and KEY VALUE as of scripts/benchmark.sh
python tools/plot.py audit output                               # the figure
python tools/audit.py --page                                    # make the tables of docs/audit.md anew
"""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable
import benchmark

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.locations import ROOT

PAGE = ROOT / "docs" / "audit.md"


@fail_politely
def main() -> int:
    """Entry point."""
    words = sys.argv[1:]
    if words == ["--page"]:
        from simnl.results.published.page import refreshed

        write_text_atomically(PAGE, refreshed(PAGE.read_text(encoding="utf-8")))
        print(f"{PAGE} is made anew.")
        return 0
    if not words or {"-h", "--help"} & set(words):
        print(as_typed(__doc__))
        return 0 if words else 2
    sys.argv[1:] = ["audit", *words]
    return benchmark.main()


if __name__ == "__main__":
    sys.exit(main())
