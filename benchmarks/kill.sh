#!/usr/bin/env bash
# A benchmark killed (kill -9) at random moments, 20 times, then finished: its figures must equal those of an
# undisturbed one, and no cell may have been run twice to completion.
#   bash benchmarks/kill.sh [FOLDER] [TIMES]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="$(realpath -m "${1:-$(mktemp -d)}")" times="${2:-20}"
export CACHE="${CACHE:-$folder/cache}"
command=(bash "$root/scripts/benchmark.sh" fewshot --datasets shapes --methods SimNL TaskRes GDA CLIPAdapter --shots 2 4)
command+=(--seeds 1 2 3 OPTIM.MAX_EPOCH 250 TRAIN.CHECKPOINT_FREQ 5) # long enough for every kill to hit something

OUTPUT="$folder/undisturbed" "${command[@]}" >"$folder.undisturbed.log"
export OUTPUT="$folder/killed"
for number in $(seq "$times"); do
  setsid "${command[@]}" >>"$folder.killed.log" 2>&1 &
  pid=$!
  sleep "$((4 + RANDOM % 4)).$((RANDOM % 10))"
  kill -9 -- "-$pid" 2>/dev/null && echo "kill $number: $(find "$OUTPUT" -name result.json | wc -l) of 24 cells done"
  wait "$pid" 2>/dev/null || true
done
"${command[@]}" | tee -a "$folder.killed.log"
"${PYTHON:-python3}" - "$folder" <<'CHECK'
import json, re, sys
from pathlib import Path

folder = Path(sys.argv[1])
keys = ("accuracy", "hparams", "best_epoch", "val_accuracy_per_epoch", "num_settings")

def figures(name):
    found = {p.relative_to(folder / name): json.loads(p.read_text()) for p in (folder / name).rglob("result.json")}
    return {str(place): {key: record[key] for key in keys} for place, record in found.items()}

killed, undisturbed = figures("killed"), figures("undisturbed")
lines = re.findall(r"\] (.*): [\d.]+ % in", Path(f"{folder}.killed.log").read_text())
print(f"{len(killed)} records, equal to the undisturbed ones: {killed == undisturbed}; cells run to the end: "
      f"{len(lines)}, each once: {len(lines) == len(set(lines))}")
sys.exit(not (killed == undisturbed and len(lines) == len(set(lines)) and len(killed) == 24))
CHECK
