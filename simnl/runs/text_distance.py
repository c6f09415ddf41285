"""How far learning has moved the texts of new classes away from those of the trained ones: the factors of DAC."""

from __future__ import annotations

import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from simnl.clip.prompts import encode_prompt_sets
from simnl.clip.text import class_weights
from simnl.fewshot.head import Head
from simnl.metrics.detection import Floats
from simnl.metrics.published import dac_factors

TEMPLATES, AVERAGING = "template", "normalize-mean-normalize"  # the text classifier of zero-shot CLIP


@torch.no_grad()
def text_factors(trainer, head: Head, dataset, cfg: CN) -> Tensor:
    """DAC's factors of the classes of a data set, (C,) float64, from texts alone; see `dac_factors`.

    Texts before training are the templates of the config, by the frozen tower. 1 for a method that changes no text;
    none at all, (0,), where a head has other texts for each image.

    Args:
        trainer: has trained.
        head: what was learned, for the classes of the data set.
        dataset: of new classes.
        cfg: its config.
    """
    if trainer.text_features_cached or not trainer.base_to_new:  # then TEST.NEW_CLASSES stands in, with frozen texts
        return torch.ones(dataset.num_classes, dtype=torch.float64)
    base, new = trainer.head.texts(), head.texts()
    if base is None or new is None:
        return torch.empty(0, dtype=torch.float64)
    frozen = [_frozen(trainer, *source) for source in ((trainer.dm.dataset, trainer.cfg), (dataset, cfg))]
    base_tuned, tuned = (text.double().cpu().numpy() for text in (base, new))
    return torch.from_numpy(dac_factors(frozen[0], base_tuned, frozen[1], tuned))


def _frozen(trainer, dataset, cfg: CN) -> Floats:
    names = [dataset.lab2cname[label] for label in range(dataset.num_classes)]
    prompts = encode_prompt_sets(cfg, dataset, names, trainer.store, [TEMPLATES], [])[TEMPLATES]
    return class_weights(prompts.features, prompts.classes, len(names), AVERAGING).double().numpy()
