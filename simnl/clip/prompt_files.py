"""The files of prompts: templates, and where CuPL sentences are looked for. Nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simnl.files import digests_of

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
    cupl = find_cupl(cfg, folders)[0]
    found = {key: Path(path).expanduser() for key, path in files.items()}
    return digests_of(found | ({"PROMPTS.CUPL": cupl} if cupl else {}))


def find_cupl(cfg, folders: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The CuPL file and the folders looked in: the path itself, the data set's `folders`, and CUPL_FOLDERS of the
    root."""
    if not cfg.PROMPTS.CUPL:
        return None, []
    named = Path(cfg.PROMPTS.CUPL).expanduser()
    root = Path(cfg.DATASET.ROOT).expanduser()
    looked = [named.parent] if named.is_absolute() else [*folders, *(root / folder for folder in CUPL_FOLDERS)]
    found = [folder / named.name if named.is_absolute() else folder / named for folder in looked]
    return next((path for path in found if path.is_file()), None), looked
