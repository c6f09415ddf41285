"""Fallbacks on classes that training did not see, for methods whose learned part belongs to the classes of training.

`TEST.NEW_CLASSES` says what such a method does with new classes (base-to-new, cross-data-set):

- `refuse` (the default): nothing, and tables show `n/a` with the reason;
- `text`: the text classifier of the new names takes the head's place, which is zero-shot CLIP;
- `neighbours`: the support images of the run are a memory. For each new class c, the k nearest of them to its text,

      N_c = the k rows n with the largest k_n . t_c,

  stand in for images of c, with the label c, and the method makes its head from these stand-ins. k_n is the unit mean
  over the views of image n, t_c the unit text classifier of the templates, and k the run's number of shots.

`neighbours` is for methods that need no training: the others would have to learn from the stand-ins. Hyper-parameters
are those that the run has chosen for the classes of training; nothing is chosen on new classes.

Source: the idea is that of limitation (2) in Section E of Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation
with Negative Learning", WACV 2025, arXiv:2403.12964, which names the k nearest neighbours of Wang et al.,
arXiv:2402.04087. How many neighbours these take was not at hand: k, and one rule for all methods, are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.task import FewShotTask


def head_for_new_classes(trainer: Any, task: FewShotTask, rule: str) -> Head:
    """What a trained method says about other classes.

    Args:
        trainer: that has trained; its task has the support images.
        task: the new classes, without support images.
        rule: TEST.NEW_CLASSES, which matters where what was learned belongs to the classes of training. `refuse` is for
            the caller to carry out (`capabilities.refusal`).
    """
    if not trainer.base_to_new:
        if rule == "text":
            return ClassifierHead(task.text_features("template"), task.logit_scale)
        task = with_stand_ins(task, trainer.task)
    head = trainer.build_head(task, trainer.node).to(trainer.device)
    head.adopt(trainer.head)
    return head


def with_stand_ins(task: FewShotTask, memory: FewShotTask) -> FewShotTask:
    """The task of new classes, whose support images are the nearest ones of another task."""
    rows = nearest_rows(memory.cache_keys(), task.text_features("template"), memory.num_shots)
    labels = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
    features = memory.support_features[:, rows.flatten().to(memory.support_features.device)]
    return replace(task, support_features=features, support_labels=labels, support_classes=labels)


def nearest_rows(keys: Tensor, text: Tensor, number: int) -> Tensor:
    """The rows of keys (N, D) with the largest cosine to each text (C, D), unit all: (C, min(number, N)) int64."""
    return (text @ keys.T).topk(min(number, len(keys)), dim=1).indices
