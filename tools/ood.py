"""usage: {command} DATASET SHOTS [KEY VALUE ...]

Trains {method} on the first half of the classes of DATASET (as main.sh does, once per seed), and asks how well it tells
their test images from images of other classes. Nothing is trained, chosen or fitted on those. Examples:

  {command} shapes 16                                            # offline
  DATA=/data OUTLIERS="new dtd ./my_photos" {command} eurosat 16

DATASET, SHOTS, KEY VALUE and the environment variables are those of scripts/run.sh (--help); beside them
  OUTLIERS  sets of images of unknown classes, separated by blanks:
            new, the classes that the run leaves out; {rendered} (rendered, no download);
            the config name of a data set (its test images); the path of a folder of images (with a slash in it)
            [new and everything rendered]
All classes are known with the option DATASET.SUBSAMPLE_CLASSES all; then there is no `new`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable
import run

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.escaping import printable
from simnl.runs.methods import method_of, script_of

SUBSAMPLE = "DATASET.SUBSAMPLE_CLASSES"


def usage(method: str) -> str:
    """The help text."""
    from simnl.data.outliers import RENDERED
    from simnl.plugins import load_plugins

    load_plugins()
    command = f"bash {script_of(method or 'METHOD', 'ood.sh')}"
    return as_typed(__doc__.format(command=command, method=method or "METHOD", rendered=", ".join(RENDERED)))


def detect_all(folders: list[Path], names: list[str]) -> None:
    """Detection by the head of each run that has not got it; one line per run."""
    from simnl.results.tables import find_records
    from simnl.runs.detection import detect, has_detection
    from simnl.runs.folder import claimed
    from simnl.runs.outliers import build_outliers
    from simnl.runs.stored_config import read_config

    for record in find_records(folders):
        sets = build_outliers(read_config(Path(record["path"]).parent), names)
        if has_detection(record, sets):
            print(f"seed {record['seed']}: outliers scored before, skipped", flush=True)
            continue
        with claimed(Path(record["path"]).parent, wait=True):
            found = detect(record, names)
        chosen = found["detectors"]["chosen"]
        parts = [f"{name} {100 * one['figures'][chosen]['auroc']:.2f}" for name, one in found["sets"].items()]
        print(printable(f"seed {record['seed']}: AUROC of {chosen}: {', '.join(parts)}"), flush=True)


@fail_politely
def main() -> int:
    """python tools/ood.py METHOD DATASET SHOTS [KEY VALUE ...]"""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    method = method_of(words[0]) if words else ""
    if len(words) < len(sys.argv) - 1:
        print(usage(method))
        return 0
    if not words:
        raise ValueError(f"METHOD, DATASET and SHOTS are needed.\n\n{usage('')}")
    dataset, shots, options = run.parse(words[1:], method)
    if SUBSAMPLE not in options[::2]:
        options += [SUBSAMPLE, "base"]
    print(f"{method} on {dataset}, {shots} {'shot' if shots == 1 else 'shots'}, against unknown classes", flush=True)

    from simnl.results.tables import Request, build, find_records, render_tables, terminal_width
    from simnl.runs.logs import configure_logging
    from simnl.runs.outliers import build_outliers, default_outliers

    configure_logging(quiet=True)
    cells = run.build_cells(method, dataset, shots, options)
    cfg = cells[0].cfg
    names = run.setting("OUTLIERS", "").split() or default_outliers(cfg)
    build_outliers(cfg, names)  # what is wrong with them is told before anything is trained
    folders = run.run_all(cells)
    detect_all(folders, names)
    tables = build("ood", find_records(folders), Request())
    print(f"\n{render_tables(tables, 'terminal', terminal_width())}\n")
    print(printable(f"Runs: {folders[0].parent}/seed*/ (detection.json, outliers.safetensors)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
