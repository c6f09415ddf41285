"""Makes the repository importable from its tools, wherever they are started, and takes over SIGTERM and Ctrl-C.

Each tool imports this before anything heavy, so that a signal meets no import that would answer with a traceback.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiment import interrupts  # noqa: E402 - found by the line above

started = Path(getattr(sys.modules["__main__"], "__file__", None) or "-")
if interrupts.is_spawned() or started.resolve().parent == ROOT / "tools":  # not where a test imports a tool
    interrupts.install()
