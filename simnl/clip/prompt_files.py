"""The files of prompts: templates, and the places of CuPL sentences. This module does not import PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.files import digests_of

SENTENCES = ("CUPL", "NEGATIVE_SENTENCES", "CONTRASTIVE")  # keys of PROMPTS that name files of sentences
CUPL_FOLDERS = ("gpt3_prompts", "cupl")  # below the data root; the first name is that of the Tip-Adapter family


def read_templates(path: Path) -> list[str]:
    """Read a text file of prompt templates, one per line, each with the placeholder {} once. Empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8 or has no template, or a template occurs twice or does not have {} exactly
            once. The message has the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, with one template per line such as `a photo of a {{}}.`")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    templates: list[str] = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.count("{}") != line.count("{") or line.count("{}") != line.count("}") or line.count("{}") > 1:
            raise ValueError(f"{path}, line {number}: a template has {{}} exactly once, no other brace; not {line!r}.")
        if line and "{}" not in line:
            raise ValueError(f"{path}, line {number}: {line!r} has no {{}} in the place of the class name.")
        if line in templates:
            raise ValueError(f"{path}, line {number}: the template {line!r} is there twice. Remove one of them.")
        templates += [line] if line else []
    if not templates:
        raise ValueError(f"{path} is empty. It must hold one template per line, such as `a photo of a {{}}.`")
    return templates


def identity(cfg, folders: Sequence[Path]) -> dict[str, str]:
    """SHA-256 (hex) of the files of prompts, by config key. The name of a run depends on it.

    `folders` are the folders in which the data set's CuPL file may lie.
    """
    files = {f"PROMPTS.{key}": cfg.PROMPTS[key] for key in ("POSITIVE_FILE", "NEGATIVE_FILE") if cfg.PROMPTS[key]}
    found = {key: Path(path).expanduser() for key, path in files.items()}
    sentences = {f"PROMPTS.{key}": find_sentences(cfg, key, folders)[0] for key in SENTENCES}
    return digests_of(found | {key: path for key, path in sentences.items() if path})


def find_sentences(cfg, key: str, folders: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The file of a key of SENTENCES, and the places that were searched: the path itself, the data set's `folders`, and
    CUPL_FOLDERS of the root."""
    if not cfg.PROMPTS[key]:
        return None, []
    named = Path(cfg.PROMPTS[key]).expanduser()
    root = Path(cfg.DATASET.ROOT).expanduser()
    looked = [named.parent] if named.is_absolute() else [*folders, *(root / folder for folder in CUPL_FOLDERS)]
    found = [folder / named.name if named.is_absolute() else folder / named for folder in looked]
    return next((path for path in found if path.is_file()), None), looked
