"""The declarations of the data sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.prepare import plan
from simnl.data.preparation.sources import Piece, Source
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins


def test_the_catalogue_fits_the_data_sets():
    """Each data set's image folder and split file are pieces; nothing is declared twice or malformed."""

    load_plugins()
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
    folder = Path(__file__).resolve().parents[4] / "shared" / "real" / "cupl"
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


# Checksums and addresses of the fact sheet that no download uses, and why.
NOT_USED = {
    "a5357ecc9cb78c4bef273ce3793fc85c": "setid.mat: CoOp's split takes its place",
    "b224c7392d521a49829488ab0f1120d9": "the tar inside Caltech101's zip, whose own md5 is checked",
    "95a8c909bbe2e81eed6a22bccdf3f68f": "OxfordPets' annotations: the split file takes their place",
    "065e5b463ae28d29e77c1b4b166cfe61": "Stanford Cars: dead",
    "4ce7ebf6a94d07f1952d94dd34c4d501": "Stanford Cars: dead",
    "c3b158d763b6e2245038c8ad08e45376": "Stanford Cars: dead",
    "b0a2b23655a3edd16d84508592a98d10": "Stanford Cars: dead",
    "1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF": "ImageNet's classnames.txt: written from open_clip's list",
    "1SvPIN6iV6NP2Oulj19a869rBXrB5SNFo": "a split of ImageNet that CoOp has not",
}


def test_links_and_checksums_are_those_of_the_fact_sheet(helpers):
    from torchvision.datasets import imagenet

    sheet = Path(__file__).resolve().parents[4] / "shared" / "datasets.md"
    if not sheet.is_file():
        pytest.skip(f"no fact sheet at {sheet}")
    text = sheet.read_text(encoding="utf-8")
    pieces = [piece for source in helpers.PUBLISHED.values() for piece in source.pieces if piece.remote]
    remotes = [piece.remote for piece in pieces if not piece.above]
    known = set(re.findall(r"\b[0-9a-f]{32}\b", text)) | set(re.findall(r"\b1[\w-]{32}\b", text))
    ours = {fact for remote in remotes for fact in (remote.md5, remote.drive) if fact}
    ours |= {md5 for _, md5 in imagenet.ARCHIVE_META.values()}  # checked by torchvision
    assert ours <= known
    assert known - ours == set(NOT_USED)
    for remote in remotes:
        if remote.md5:  # beside its own name, within the entry
            assert re.search(rf"{re.escape(remote.name)}(?:.(?!\n## ))*?{remote.md5}", text, re.S), remote
        if remote.size:  # its thousands may have commas
            assert str(remote.size) in text.replace(",", "")
        for url in remote.urls:
            folder = url.rpartition("/")[0].partition("://")[2]  # a file beside another is listed by name there
            pinned = url.startswith("https://raw.githubusercontent.com/linzhiqiu/cross_modal_adaptation/")
            assert pinned or (f"://{folder}/" in text and remote.name in text), url
