"""open_clip's architectures in small: their own configs with few and narrow layers, random weights, nothing fetched.

Towers of timm are built by timm's own functions, which take smaller numbers. Tokenizers and text configs of the hub are
made here, with a few words, in folders of the form in which the hub has them.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import open_clip
import timm
import torch
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file
from timm.models import register_model

from simnl.clip import architectures
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.transforms import Transform

WIDTH, SIZE = 32, 64
SCALE, BIAS = 37.0, -3.5  # logit scale and bias of all models here
HALF = Transform((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "squash")  # where no tag of open_clip says one
PLAIN = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2, "img_size": SIZE}
NARROW = {"layers": (1, 1, 1, 1), "embed_dims": (8, 16, 32, 64)}
TIMM = {  # what is smaller in each of timm's towers
    "vit_base_patch16_siglip_224": PLAIN, "eva02_base_patch16_clip_224": PLAIN,
    "vit_pe_core_base_patch16_224": PLAIN, "vit_base_patch16_224": PLAIN, "fastvit_mci0": NARROW,
    "convnext_base": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
}  # fmt: skip
DECODER = "text_decoder.text_projection"
WORDS = [*"abcdefghijklmnopqrstuvwxyz.", "word", "photo", "of", "class", *"0123456789"]
# Ids of start, padding and end. What the tokenizer has no start for, begins with the first word.
ROBERTA, T5, BERT, SIGLIP = (0, 1, 2), (None, 0, 1), (2, 0, 3), (None, 1, 1)
IDS = {
    "roberta-base": ROBERTA, "xlm-roberta-base": ROBERTA, "facebook/nllb-200-distilled-600M": ROBERTA,
    "facebook/xlm-v-base": ROBERTA, "google/mt5-base": T5, "bert-base-uncased": BERT,
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": BERT,
}  # fmt: skip


def needs_transformers(arch: str) -> bool:
    return bool(architectures.hub_tokenizer(arch))


def text_config(name: str):
    """The config of a Hugging Face text tower in small."""
    from transformers import BertConfig, M2M100Config, MT5Config, RobertaConfig, XLMRobertaConfig

    plain = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    plain |= {"intermediate_size": 32, "max_position_embeddings": 300}
    if name == "google/mt5-base":
        return MT5Config(vocab_size=64, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2)
    if name.startswith("facebook"):
        return M2M100Config(
            vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=1,
        )  # fmt: skip
    kind = {"roberta-base": RobertaConfig, "xlm-roberta-base": XLMRobertaConfig}.get(name, BertConfig)
    return kind(**plain, pad_token_id=IDS[name][1])


@functools.cache
def hub_folder(name: str, with_config: bool) -> str:
    """A folder with a tokenizer in the form of the hub, and the config of a text tower."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = Path(_root()) / name.replace("/", "-")
    start, pad, end = IDS.get(name, SIGLIP)
    special = {number: word for word, number in (("<s>", start), ("<pad>", pad), ("</s>", end)) if number is not None}
    names = [special.get(number, f"<{number}>") for number in range(4)] + ["<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(names)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    text = f"{'<s> ' if start is not None else ''}$A </s>"
    pairs = [(word, number) for number, word in special.items()]
    tokenizer.post_processor = processors.TemplateProcessing(single=text, special_tokens=pairs)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[pad], eos_token="</s>", sep_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    if with_config:
        text_config(name).save_pretrained(folder)
    return str(folder)


@functools.cache
def _root() -> str:
    holder = tempfile.TemporaryDirectory(prefix="small-vlm-")
    _KEPT.append(holder)  # removed with the process
    return holder.name


_KEPT: list[tempfile.TemporaryDirectory] = []


def _register_timm(name: str) -> str:
    small = f"small_{name}"
    if not timm.is_model(small):

        def build(pretrained: bool = False, **options):
            return timm.create_model(name, pretrained=False, **TIMM[name], **options)

        build.__name__, build.__module__ = small, __name__
        register_model(build)
    return small


def tag_of(arch: str) -> str:
    """The first weights tag of an architecture that was trained with its activation; empty where there is none."""
    gelu = bool(architectures.settings(arch).get("quick_gelu", False)) and arch.endswith("-quickgelu")
    tags = open_clip.list_pretrained_tags_by_model(arch)
    return next((t for t in tags if bool(open_clip.get_pretrained_cfg(arch, t).get("quick_gelu", False)) == gelu), "")


def shrunk(arch: str) -> dict:
    """open_clip's config of an architecture, with small numbers."""
    config = architectures.settings(arch)
    vision, text = config["vision_cfg"], config["text_cfg"]
    config["embed_dim"], vision["image_size"] = WIDTH, SIZE
    if "timm_model_name" in vision:
        vision["timm_model_name"] = _register_timm(vision["timm_model_name"])
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8}
    else:
        vision |= {"layers": 2, "width": 32, "head_width": 16, "patch_size": 32, "attn_pooler_queries": 4}
    tokens = architectures.hub_tokenizer(arch)
    if tokens:
        text["hf_tokenizer_name"] = hub_folder(tokens, "hf_model_name" in text)
    if "hf_model_name" in text:
        text["hf_model_name"] = text["hf_tokenizer_name"]
    else:
        text |= {"width": 32, "heads": 2, "layers": 2, **({"vocab_size": 64} if tokens else {})}
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": 32, "heads": 2, "layers": 1}
    return config


@functools.cache
def written(arch: str) -> tuple[str, str]:
    """Register the small architecture with open_clip, and write its weights. Returns its name and the file."""
    name, folder = f"small-{arch}", Path(_root())
    (folder / f"{name}.json").write_text(json.dumps(shrunk(arch)))
    open_clip.add_model_config(folder / f"{name}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.create_model(name, pretrained_text=False)
    state = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    state["logit_scale"] = torch.tensor(SCALE).log()
    if "logit_bias" in state:
        state["logit_bias"] = torch.tensor(BIAS)
    if DECODER in state:  # open_clip leaves CoCa's as the memory was, with NaN at times
        state[DECODER] = torch.eye(*state[DECODER].shape)
    file = folder / f"{name}.safetensors"
    save_file(state, file)
    tag = tag_of(arch)
    if tag:  # the file becomes the weights of the tag, with all else that open_clip states of it
        stated = {key: value for key, value in open_clip.get_pretrained_cfg(arch, tag).items() if key != "hf_hub"}
        _PRETRAINED[name] = {tag: {**stated, "url": "", "file": str(file)}}
    return name, str(file)


@functools.cache
def load(arch: str) -> FrozenCLIP:
    """The small model: by the architecture's weights tag, or as a file where open_clip has none."""
    name, file = written(arch)
    tag = tag_of(arch)
    return load_clip(name, tag) if tag else load_clip(name, file, transform=HALF)
