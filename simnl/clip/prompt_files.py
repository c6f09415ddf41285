"""The files of prompts: templates, and where CuPL sentences are looked for. Nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.files import digests_of

SENTENCES = ("CUPL", "NEGATIVE_SENTENCES", "CONTRASTIVE")  # keys of PROMPTS that name files of sentences
CUPL_FOLDERS = ("gpt3_prompts", "cupl")  # below the data root; the first is what Tip-Adapter's family calls it


def read_templates(path: Path) -> list[str]:
    """Read a text file of prompt templates, one per line, each with the placeholder {} once. Empty lines are skipped.

    Raises:
        FileNotFoundError: no such file. ValueError, with file and line: not UTF-8, no {} or several, a template that
        occurs twice, no template at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: it holds one template per line, such as `a photo of a {{}}.`")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    templates: list[str] = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.count("{}") != line.count("{") or line.count("{}") != line.count("}") or line.count("{}") > 1:
            raise ValueError(f"{path}, line {number}: a template holds {{}} exactly once and no other brace: {line!r}.")
        if line and "{}" not in line:
            raise ValueError(f"{path}, line {number}: no {{}}, where the class name goes, in {line!r}.")
        if line in templates:
            raise ValueError(f"{path}, line {number}: {line!r} stands there twice.")
        templates += [line] if line else []
    if not templates:
        raise ValueError(f"{path} is empty: it holds one template per line, such as `a photo of a {{}}.`")
    return templates


def identity(cfg, folders: Sequence[Path]) -> dict[str, str]:
    """SHA-256 (hex), by config key, of the files of prompts. Part of what names a run.

    folders: the folders in which the data set's CuPL file may lie.
    """
    files = {f"PROMPTS.{key}": cfg.PROMPTS[key] for key in ("POSITIVE_FILE", "NEGATIVE_FILE") if cfg.PROMPTS[key]}
    found = {key: Path(path).expanduser() for key, path in files.items()}
    sentences = {f"PROMPTS.{key}": find_sentences(cfg, key, folders)[0] for key in SENTENCES}
    return digests_of(found | {key: path for key, path in sentences.items() if path})


def find_sentences(cfg, key: str, folders: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The file of a key of SENTENCES, and the folders looked in: the path itself, the data set's `folders`, and
    CUPL_FOLDERS of the root."""
    if not cfg.PROMPTS[key]:
        return None, []
    named = Path(cfg.PROMPTS[key]).expanduser()
    root = Path(cfg.DATASET.ROOT).expanduser()
    looked = [named.parent] if named.is_absolute() else [*folders, *(root / folder for folder in CUPL_FOLDERS)]
    found = [folder / named.name if named.is_absolute() else folder / named for folder in looked]
    return next((path for path in found if path.is_file()), None), looked
