#!/usr/bin/env bash
# Finds python and starts tools/$TOOL; scripts/run.sh gives it METHOD DATASET SHOTS [KEY VALUE ...]
set -euo pipefail
# Until python has taken over (tools/_path.py); it then answers both itself.
trap 'echo "Interrupted by Ctrl-C. Run the same command again to continue." >&2; exit 130' INT
trap 'echo "Interrupted by SIGTERM. Run the same command again to continue." >&2; exit 143' TERM
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-}"
if [ -z "$python" ]; then
  if [ -n "${VIRTUAL_ENV:-}" ]; then python="$VIRTUAL_ENV/bin/python"
  elif [ -x "$root/.venv/bin/python" ]; then python="$root/.venv/bin/python"
  else python=python3; fi
fi
if ! command -v "$python" > /dev/null; then
  echo "Error: there is no '$python' to run. In $root run:" >&2
  echo "  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt" >&2
  exit 1
fi
# Threads that wait must sleep, not spin: on a busy machine spinning costs many times the work itself.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$python" "$root/tools/${TOOL:-run.py}" "$@"
