"""CLIPN's second text tower in a file: what it says of texts, and which files are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.no_towers import OFFSETS, denying_text, random_tower, save_checkpoint, text_state
from simnl.clip.model import load_clip
from simnl.clip.no_tower import read_no_tower, with_no_tower
from simnl.clip.store import FeatureStore

TEXTS = ["a photo of a cat.", "'a photo with the old tin drum.',"]


@pytest.fixture(scope="module")
def tiny():
    return load_clip("tiny-clip", "bundled")


@pytest.fixture(scope="module")
def tower(tiny):
    return random_tower(tiny)


@pytest.mark.parametrize("form", ["checkpoint", "safetensors", "alone"])
def test_texts_are_those_of_the_tower_written_out(tiny, tower, tmp_path, form):
    """Also from a store that holds the same sentences by the ordinary tower."""
    path = tmp_path / ("epoch_10.pt" if form == "checkpoint" else "no.safetensors")
    if form == "checkpoint":
        save_checkpoint(path, tiny, tower)
    else:
        more = {name: value.half() for name, value in text_state(tiny).items()} if form == "safetensors" else {}
        save_file({f"clip.{name}": value for name, value in {**more, **tower}.items()}, path)
    read = read_no_tower(str(path), tiny)
    assert bool(read.yes) == (form != "alone")
    denying = with_no_tower(tiny, read)
    yes, no = (FeatureStore(tmp_path / "cache", clip, progress=False).texts(TEXTS) for clip in (tiny, denying))
    torch.testing.assert_close(yes, tiny.text_rows(tiny.tokenize(TEXTS)), rtol=0, atol=0)
    wanted = torch.stack([denying_text(tower, tiny, [text]) for text in TEXTS])
    torch.testing.assert_close(F.normalize(no.double(), dim=1), wanted, rtol=0, atol=2e-6)
    assert (F.normalize(no, dim=1) - F.normalize(yes, dim=1)).norm(dim=1).min() > 0.05


def test_another_file_has_texts_of_its_own(tiny, tower, tmp_path):
    names = {
        with_no_tower(tiny, read_no_tower(str(save_checkpoint(tmp_path / f"{n}.pt", tiny, state)), tiny)).fingerprint
        for n, state in enumerate([tower, random_tower(tiny, 1)])
    }
    assert len(names | {tiny.fingerprint}) == 3


def without(state: dict, *names: str) -> dict:
    return {name: value for name, value in state.items() if name not in names}


REFUSALS = {
    "no tensor in it is named prompt_no. Set CLIPN to": lambda w: {"visual.proj": torch.ones(2)},
    "without learned offsets .prompt_no.*hand-crafted": lambda w: without(w, OFFSETS),
    "holds 2 second towers .a.prompt_no, prompt_no.*of its own": lambda w: {**w, f"a.{OFFSETS}": w[OFFSETS].clone()},
    "prompt_no is 16 x 64, not 16 x 32 x 64": lambda w: {**w, OFFSETS: w[OFFSETS][:, 0].clone()},
    "text_projection_no is 64 x 9, not 64 x 128.*BACKBONE": lambda w: {**w, "text_projection_no": torch.ones(64, 9)},
    "1 of tiny-clip's 30 tensors are not in it .ln_final_no.bias": lambda w: without(w, "ln_final_no.bias"),
    "transformer_no.resblocks.2.ln_1.bias": lambda w: {**w, "transformer_no.resblocks.2.ln_1.bias": torch.ones(64)},
    "ln_final_no.bias in .* holds NaN": lambda w: {**w, "ln_final_no.bias": torch.full((64,), float("nan"))},
    "prompt_no in .* holds NaN": lambda w: {**w, OFFSETS: w[OFFSETS] / 0},
}  # fmt: skip


@pytest.mark.parametrize("cause", REFUSALS)
def test_what_is_no_such_tower_is_refused(tiny, tower, tmp_path, cause):
    path = tmp_path / "no.safetensors"
    save_file(REFUSALS[cause](tower), path)
    with pytest.raises(ValueError, match=f"^CLIPN: .*{cause}") as caught:
        read_no_tower(str(path), tiny)
    assert str(path) in str(caught.value)


def test_other_refusals(tiny, tower, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^CLIPN: .*none.pt does not exist. Set CLIPN to a checkpoint"):
        read_no_tower(str(tmp_path / "none.pt"), tiny)
    (tmp_path / "page.pt").write_text("<html>Sign in</html>")
    with pytest.raises(ValueError, match=r"^CLIPN: The weights file .*page.pt is a web page"):
        read_no_tower(str(tmp_path / "page.pt"), tiny)
    path = str(save_checkpoint(tmp_path / "epoch_10.pt", tiny, tower))
    with pytest.raises(ValueError, match="the text tower of ViT-B-16-SigLIP is not"):
        read_no_tower(path, replace(tiny, arch="ViT-B-16-SigLIP"))
    changed = save_checkpoint(tmp_path / "changed.pt", tiny, {**tower, "ln_final.bias": torch.ones(64)})
    with pytest.raises(ValueError, match=r"is not that of tiny-clip .* \(1 of 29 tensors differ, .* ln_final.bias\)"):
        with_no_tower(tiny, read_no_tower(str(changed), tiny))
