"""Training with cross-entropy on all labelled images, also called empirical risk minimisation."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from dassl.engine.trainer import TrainerX
from dassl.engine.trainer_registry import TRAINER_REGISTRY
from dassl.metrics import compute_accuracy

__all__ = ["Vanilla"]


@TRAINER_REGISTRY.register()
class Vanilla(TrainerX):
    """`SimpleNet` of `cfg.MODEL`, all of it trained with cross-entropy; domains are not told apart."""

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimisation step; returns `loss` and `acc`, the accuracy on the batch in percent."""
        images, labels = self.parse_batch_train(batch)
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        self.model_backward_and_update(loss)
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(logits, labels)[0].item()}

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,), on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)
