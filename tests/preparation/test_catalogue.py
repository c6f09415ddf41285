"""The declarations of the fifteen data sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from experiment.config import CONFIGS
from preparation.catalogue import SOURCES
from preparation.prepare import plan
from preparation.sources import Piece, Source


def test_the_catalogue_fits_the_data_sets():
    """Each data set's image folder and split file are pieces; nothing is declared twice or malformed."""
    import datasets

    datasets.import_all()
    kinds = {kind.config_name: kind for kind in map(DATASET_REGISTRY.get, DATASET_REGISTRY.registered_names())}
    bundled = {name for name in kinds if name.startswith("shapes") or name in ("imagefolder", "")}
    assert set(SOURCES) == set(kinds) - bundled
    for name, source in SOURCES.items():
        kind = kinds[name]
        targets = [piece.target for piece in source.pieces]
        needed = {kind.image_dir, kind.split_file} - {"", ".", "images" if name == "imagenet" else ""}
        assert source.folder == kind.dataset_dir
        assert needed <= set(targets)
        assert len(targets) == len(set(targets))
        for remote in filter(None, (piece.remote for piece in source.pieces)):
            assert re.fullmatch(r"[0-9a-f]{32}|", remote.md5)
            assert all(re.match(r"https?://", url) for url in remote.urls)
            assert remote.address or source.by_hand


def test_cupl_files_are_those_of_the_configs(helpers):
    for name, source in helpers.PUBLISHED.items():
        (piece,) = (piece for piece in source.pieces if piece.above)
        config = yaml.safe_load((CONFIGS / "datasets" / f"{name}.yaml").read_text())
        assert piece.target == f"gpt3_prompts/{config['PROMPTS']['CUPL']}"
        assert piece.remote.urls[0].endswith(piece.target)


def test_cupl_checksums(helpers):
    folder = Path(__file__).resolve().parents[3] / "shared" / "real" / "cupl"
    if not folder.is_dir():
        pytest.skip(f"no CuPL files at {folder}")
    by_name = {p.remote.name: p.remote for s in helpers.PUBLISHED.values() for p in s.pieces if p.above}
    for path in folder.iterdir():
        content = path.read_bytes()
        assert (by_name[path.name].md5, by_name[path.name].size) == (helpers.md5(content), len(content))


def test_a_source_without_download_or_advice_cannot_pass_for_complete(root):
    source = Source("new", "new", (Piece("images"),), "Ask the authors for {root}/{folder}/images.")
    (step,) = plan(source, root)
    assert step.run is None
    assert step.text == f"Ask the authors for {root}/new/images."
