"""Fallbacks on classes that training did not see, for methods whose learned part belongs to the classes of training.

`TEST.NEW_CLASSES` says what such a method does with new classes (base-to-new, cross-data-set):

- `refuse` (the default): it does not classify them, and tables show `n/a` with the reason;
- `text`: the text classifier of the new names, which is zero-shot CLIP, replaces the head;
- `neighbours`: the support images of the run are a memory. For each new class c, the k images nearest to its text,

      N_c = the k rows n with the largest k_n . t_c,

  stand in for images of c, with the label c, and the method makes its head from these stand-ins. k_n is the unit mean
  over the views of image n, t_c the unit text classifier of the templates, and k the run's number of shots.

`neighbours` is for training-free methods, because others would have to learn from the stand-ins. Hyper-parameters are
those that the run has chosen for the classes of training; nothing is chosen on new classes.

Source: the idea is that of limitation (2) in Section E of Zhang et al., "Enhancing Vision-Language Few-Shot Adaptation
with Negative Learning", WACV 2025, arXiv:2403.12964, which names the k nearest neighbours of Wang et al.,
arXiv:2402.04087. The number of neighbours there is not known to us, so k, and one rule for all methods, are our
choices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.task import FewShotTask


def head_for_new_classes(trainer: Any, task: FewShotTask, rule: str) -> Head:
    """The head of a trained method for other classes.

    Args:
        trainer: a trainer that has trained; its task has the support images.
        task: the task of the new classes, without support images.
        rule: TEST.NEW_CLASSES, which is used if what was learned belongs to the classes of training. The caller carries
            out `refuse` (`capabilities.refusal`).
    """
    if not trainer.base_to_new:
        if rule == "text":
            return ClassifierHead(task.text_features("template"), task.logit_scale)
        task = with_stand_ins(task, trainer.task)
    head = trainer.build_head(task, trainer.node).to(trainer.device)
    head.adopt(trainer.head)
    return head


def with_stand_ins(task: FewShotTask, memory: FewShotTask) -> FewShotTask:
    """The task of new classes with the nearest support images of another task as its own."""
    rows = nearest_rows(memory.cache_keys(), task.text_features("template"), memory.num_shots)
    labels = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
    features = memory.support_features[:, rows.flatten().to(memory.support_features.device)]
    return replace(task, support_features=features, support_labels=labels, support_classes=labels)


def nearest_rows(keys: Tensor, text: Tensor, number: int) -> Tensor:
    """The rows of unit keys (N, D) with the largest cosines to each unit text (C, D): (C, min(number, N)) int64."""
    return (text @ keys.T).topk(min(number, len(keys)), dim=1).indices
