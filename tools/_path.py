"""Makes the repository importable from its tools, wherever they are started, and takes over SIGTERM and Ctrl-C.

Each tool imports this before anything heavy, so that a signal meets no import that would answer with a traceback.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = (  # of requirements.txt, by the names under which they are imported, without those that few things need
    "torch", "torchvision", "open_clip", "dassl", "yacs", "yaml", "safetensors", "filelock", "sklearn", "threadpoolctl",
    "tabulate", "scipy", "tqdm", "rich", "matplotlib", "jinja2", "submitit", "PIL", "numpy", "huggingface_hub",
)  # fmt: skip


def require_packages() -> None:
    """Leave with a message, and no traceback, where this python lacks what the program needs.

    Raises:
        SystemExit: which packages, and what to do.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        there = ROOT / ".venv" / "bin" / "python"
        other = f"Use {there} instead, or in" if there.is_file() and str(there) != sys.executable else "In"
        sys.exit(
            f"Error: {sys.executable} lacks packages that are needed ({', '.join(missing)}). {other} {ROOT} run:\n"
            "  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
        )


require_packages()
sys.path.insert(0, str(ROOT))

from simnl import interrupts  # noqa: E402 - found by the line above

started = Path(getattr(sys.modules["__main__"], "__file__", None) or "-")
if interrupts.is_spawned() or started.resolve().parent == ROOT / "tools":  # not where a test imports a tool
    interrupts.install()
