"""The bundled tiny CLIPs: two open_clip `CLIP` models that run everything offline, on two CPU cores.

`tiny-clip` has a small ResNet as its image tower (1.4 M parameters), `tiny-vit` a small vision transformer (0.5 M),
for methods that change one. They know rendered figures and some 80 words (`MODEL_CARD.md`, `vit/MODEL_CARD.md`), and
use CLIP's own tokenizer. A weights file keeps only the rows of the token table that the training captions used;
`load_state_dict` puts them into a table of the full vocabulary, so that open_clip loads the result strictly.
"""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, SimpleTokenizer
from safetensors.torch import load_file, save_file

from simnl.clip.bundled import BUNDLED, HERE, RESNET, VIT, Bundled
from simnl.files import replacing

__all__ = [
    "BUNDLED", "HERE", "IMAGE_MEAN", "IMAGE_STD", "RESNET", "VIT", "Bundled", "full_token_table", "load_state_dict",
    "new_model", "save_state_dict", "tokenizer",
]  # fmt: skip

IMAGE_MEAN = OPENAI_DATASET_MEAN
IMAGE_STD = OPENAI_DATASET_STD

_TABLE, _IDS, _ROWS = "token_embedding.weight", "token_ids", "token_rows"
_VOCABULARY = 49408  # rows of the token table: CLIP's byte-pair encoding
_UNUSED_SEED = 0


def new_model(model: Bundled = RESNET) -> CLIP:
    """Return the untrained model."""
    return CLIP(**model.settings())


def tokenizer(model: Bundled = RESNET) -> SimpleTokenizer:
    """Return CLIP's own byte-pair encoding, with the model's context length."""
    return SimpleTokenizer(context_length=model.settings()["text_cfg"]["context_length"])


def load_state_dict(path: Path | str = RESNET.weights) -> dict[str, torch.Tensor]:
    """Return a model's state dict, in float32, for open_clip's `CLIP` of its config.

    Rows of tokens that no training caption used are random, with the spread of the trained rows, from a fixed seed:
    words that the model does not know differ from each other, and are the same in every process.

    Raises
    ------
    FileNotFoundError
        If the weights file is missing.
    ValueError
        If it is not a file that `save_state_dict` wrote.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Restore it, or run python tools/train_tiny_clip.py.")
    try:
        state = load_file(path)
    except Exception as error:  # the error type of safetensors derives from no standard one
        raise ValueError(f"{path} is not a safetensors file ({error}). Restore it.") from error
    missing = {_IDS, _ROWS} - state.keys()
    if missing:
        raise ValueError(f"{path} is not a weights file of the tiny CLIP: it lacks {', '.join(sorted(missing))}.")
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    state[_TABLE] = full_token_table(state.pop(_IDS).long(), state.pop(_ROWS), _VOCABULARY)
    return state


def full_token_table(ids: torch.Tensor, rows: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Return a token table `(vocabulary, width)` with `rows` `(T, width)` at `ids` `(T,)` and random rows elsewhere."""
    generator = torch.Generator().manual_seed(_UNUSED_SEED)
    table = torch.randn(vocabulary, rows.shape[1], generator=generator) * rows.std()
    table[ids] = rows
    return table


def save_state_dict(state: dict[str, torch.Tensor], ids: torch.Tensor, path: Path | str) -> None:
    """Write a state dict whose token table has one row per token of `ids` `(T,)`. Half precision; atomic.

    Raises
    ------
    ValueError
        If a weight does not fit into half precision.
    """
    stored = {}
    for name, value in state.items():
        half = value.half() if value.is_floating_point() else value
        if not torch.isfinite(half).all():
            raise ValueError(f"{name} has values that half precision does not hold (up to {value.abs().max():.3g}).")
        stored[_ROWS if name == _TABLE else name] = half.contiguous()
    stored[_IDS] = ids.to(torch.int32)
    with replacing(Path(path)) as temporary:
        save_file(stored, temporary)
        temporary.chmod(0o644)  # safetensors makes files that only the owner can read
