"""usage: {command} DATASET SHOTS [KEY VALUE ...]

Trains {method} on the first half of the classes of DATASET (as main.sh does, once per seed), and asks how well it tells
their test images from images of other classes. Nothing is trained, chosen or fitted on those. Examples:

  {command} shapes 16                                            # offline
  DATA=/data OUTLIERS="new dtd ./my_photos" {command} eurosat 16

DATASET, SHOTS, KEY VALUE and the environment variables are those of scripts/run.sh (--help); beside them
  OUTLIERS  sets of images of unknown classes, separated by blanks:
            new, the classes that the run leaves out; unseen_shapes, plain_textures, plain_noise, which are rendered;
            the config name of a data set (its test images); the path of a folder of images (with a slash in it):
            absolute, or below DATA, or below the current folder (./NAME looks there first)
            [new and everything rendered]
  SCORES    scores that need more than logits, separated by blanks, or all:            [none]
            gl_mcm (patches of images, which are encoded once more), neglabel, csp, adaneg (words; adaneg learns from
            the test images, so it is marked), clipn_ctw, clipn_atd (a second text tower)
  WORDNET   where the words are: the folder of WordNet's data.noun and data.adj, or a text file with a word in each
            line                                                                       [where nltk or Debian have it]
  CLIPN     the file of the second text tower, a checkpoint of CLIPN's authors         [none]
  METHODS   of scripts/ood.sh: the methods, separated by blanks                        [all on cached features]
All classes are known with the option DATASET.SUBSAMPLE_CLASSES all; then there is no `new`.
"""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable
import run

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.escaping import printable
from simnl.numbers import shots_in_words
from simnl.runs.methods import method_of, script_of

log = logging.getLogger("simnl.ood")

ALL = "all"  # in the place of METHOD: scripts/ood.sh; in SCORES: each of them
SUBSAMPLE = "DATASET.SUBSAMPLE_CLASSES"


def usage(method: str) -> str:
    """The help text."""
    command = f"bash {script_of(method, 'ood.sh') if method else 'scripts/ood.sh'}"
    return as_typed(__doc__.format(command=command, method=method or "each method"))


def asked_scores() -> list[str]:
    """The extra scores that SCORES names. A note says so where CLIPN names a file for none of them.

    Raises:
        ValueError: an unknown name.
    """
    from simnl.runs.denials import CLIPN_SCORES
    from simnl.runs.extra_scores import EXTRA, check_names

    names = run.setting("SCORES", "").split()
    if names == [ALL]:
        return list(EXTRA)
    check_names(names)
    path = run.setting("CLIPN", "")
    if path and not needs_tower(names, path):
        log.warning("CLIPN names a file, and SCORES none of the scores that need it: %s.", ", ".join(CLIPN_SCORES))
    return names


def words_digest(scores: list[str], wordnet: str) -> str:
    """What the words to use are known by; empty where no score needs them, or there are none.

    Raises:
        FileNotFoundError, ValueError: WORDNET names nothing of use.
    """
    from simnl.data.wordnet import read_words
    from simnl.runs.extra_scores import OF_WORDS

    if not set(scores) & set(OF_WORDS):
        return ""
    try:
        return read_words(wordnet).digest
    except FileNotFoundError:
        if wordnet:
            raise
        return ""  # the table says why these scores are not there


def tower_digest(scores: list[str], path: str) -> str:
    """The SHA-256 (hex) of the file that CLIPN names; empty where no score needs it, or there is none."""
    from simnl.files import sha256_of

    return sha256_of(Path(path).expanduser()) if needs_tower(scores, path) else ""


def needs_tower(scores: list[str], path: str) -> bool:
    """True if CLIPN names a file, and one of the scores is made with it."""
    from simnl.runs.denials import CLIPN_SCORES

    return bool(path and set(scores) & set(CLIPN_SCORES))


def check_sources(scores: list[str], cfg) -> None:
    """Check what the scores need beside the run, before anything is trained. `cfg` is the config of a run.

    Raises:
        FileNotFoundError, ValueError: WORDNET names nothing of use, or CLIPN no second tower for the backbone.
    """
    from simnl.runs.denials import denying_model
    from simnl.studies.warming import clip_of

    words_digest(scores, run.setting("WORDNET", ""))
    path = run.setting("CLIPN", "")
    if needs_tower(scores, path):
        denying_model(clip_of(cfg), path)


def detect_all(folders: list[Path], names: list[str], scores: list[str]) -> None:
    """Detection by the head of each run that has not got it; one line per run."""
    from simnl.results.tables import find_records
    from simnl.runs.detection import detect, has_detection
    from simnl.runs.folder import claimed
    from simnl.runs.outliers import build_outliers
    from simnl.runs.stored_config import read_config

    wordnet, clipn = run.setting("WORDNET", ""), run.setting("CLIPN", "")
    digests = words_digest(scores, wordnet), tower_digest(scores, clipn)
    for record in find_records(folders):
        sets = build_outliers(read_config(Path(record["path"]).parent), names)
        if has_detection(record, sets, scores, *digests):
            print(f"seed {record['seed']}: outliers scored before, skipped", flush=True)
            continue
        with claimed(Path(record["path"]).parent, wait=True):
            found = detect(record, names, scores, wordnet, clipn)
        chosen = found["detectors"]["chosen"]
        parts = [f"{name} {100 * one['figures'][chosen]['auroc']:.2f}" for name, one in found["sets"].items()]
        print(printable(f"seed {record['seed']}: AUROC of {chosen}: {', '.join(parts)}"), flush=True)


def chosen_methods() -> list[str]:
    """What METHODS names, or all methods on cached features."""
    from simnl.studies.choices import default_methods

    return [method_of(word) for word in run.setting("METHODS", "").split()] or default_methods()


def run_method(method: str, dataset: str, shots: int, options: list[str], scores: list[str], named: bool) -> list[Path]:
    """Train a method where that is not done, and score what is not scored; the folders of its runs.

    scores: the extra scores. named: say whose lines they are.
    """
    from simnl.runs.outliers import build_outliers, default_outliers

    if named:
        print(method, flush=True)
    cells = run.build_cells(method, dataset, shots, options)
    cfg = cells[0].cfg
    names = run.setting("OUTLIERS", "").split() or default_outliers(cfg)
    build_outliers(cfg, names)  # what is wrong with them is told before anything is trained
    check_sources(scores, cfg)  # so is what is wrong with the words and the second tower
    folders = run.run_all(cells)
    detect_all(folders, names, scores)
    return folders


@fail_politely
def main() -> int:
    """python tools/ood.py METHOD (or `all`) DATASET SHOTS [KEY VALUE ...]"""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    every = words[:1] == [ALL]
    method = method_of(words[0]) if words and not every else ""
    if len(words) < len(sys.argv) - 1:
        print(usage(method))
        return 0
    if not words:
        raise ValueError(f"METHOD, DATASET and SHOTS are needed.\n\n{usage('')}")
    dataset, shots, options = run.parse(words[1:], method)
    if SUBSAMPLE not in options[::2]:
        options += [SUBSAMPLE, "base"]
    what = "all methods" if every else method
    print(f"{what} on {dataset}, {shots_in_words(shots)}, against unknown classes", flush=True)

    from simnl.results.tables import Request, build, find_records, render_tables, terminal_width
    from simnl.runs.logs import configure_logging

    configure_logging(quiet=True)
    methods, scores = chosen_methods() if every else [method], asked_scores()
    named = len(methods) > 1
    folders = [at for name in methods for at in run_method(name, dataset, shots, options, scores, named)]
    tables = build("tradeoff" if every else "ood", find_records(folders), Request())
    print(f"\n{render_tables(tables, 'terminal', terminal_width())}\n")
    if every:
        output = shlex.quote(run.setting("OUTPUT", "output"))
        print(as_typed(f"A plot of it: python tools/plot.py tradeoff {output}; each set and score: "
                       f"python tools/table.py {output} --layout ood"))  # fmt: skip
    else:
        print(printable(f"Runs: {folders[0].parent}/seed*/ (detection.json, outliers.safetensors)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
