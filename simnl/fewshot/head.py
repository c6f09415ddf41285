"""The head is the method itself: a module that knows tensors and numbers only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simnl.clip.recipe import Rebuildable

Terms = Mapping[str, Any]  # tensors by name, or tuples of them


class Head(Rebuildable, nn.Module):
    """Raw image features `(B, D)` to logits `(B, C)`.

    A head is given tensors and plain numbers: no config, no path, no loader. Derived tensors are non-persistent
    buffers, so that its state dict is exactly what it learned. So the arguments of its constructor and its state dict
    are all of it, and a head file holds both (`simnl.fewshot.head_file`).

    A head whose cost is products of features with tensors that never move may offer them as `products`: those of stored
    views are then computed once and given to `losses` and `forward` from there on (`loaders.ViewProducts`).
    """

    num_products: int = 0  # numbers per image that `products` gives; 0: there are none
    not_exported: str = ""  # why there is no program of this head alone (`simnl.fewshot.export`), behind "<method> "
    transduction: nn.Module | None  # (features, logits) of a whole set -> logits: a plug-in on any method

    def __init__(self):
        super().__init__()
        self.transduction = None

    def products(self, features: Tensor) -> Tensor:
        """Products (B, num_products) that follow from raw image features (B, D) and from nothing that is learned."""
        raise NotImplementedError(f"{type(self).__name__} has num_products = 0.")

    def sides(self, features: Tensor) -> dict[str, Tensor]:
        """What speaks for and against each class, (B, C) each, by the names of `simnl.metrics.two_sided.Sides`.

        By default there is nothing; a head that has a positive and a negative side overrides this. `features` are raw
        image features, (B, D).
        """
        return {}

    def texts(self) -> Tensor | None:
        """Unit text features (C, D) that the logits compare images with (for scores of patches, DAC); None: none."""
        return None

    def own_scores(self, features: Tensor) -> dict[str, Tensor]:
        """How sure the method is that images show one of its classes, by its own scores (B,): larger = known.

        By default none: scores of logits are there for every head (`simnl.metrics.scores`). features: raw, (B, D).
        """
        return {}

    def transduce(self, features: Tensor) -> Tensor:
        """Logits (M, C) of a whole set of images, raw (M, D), as an evaluation asks for them.

        By default these are the logits of `forward`, in which no image looks at another one. A head that makes more of
        the whole set, at once or as a stream, overrides this and declares it (`VLTrainer.inference`).
        """
        logits = self(features)
        return logits if self.transduction is None else self.transduction(features, logits)

    def losses(self, features: Tensor, labels: Tensor, **known: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the training loss, which is their sum.

        Args:
            features: raw image features, (B, D).
            labels: (B,) int64.
            known: `products=` of the features, where they are known.
        """
        return {"ce": F.cross_entropy(self(features, **known), labels)}

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Pairs of a factor on the learning rate and the parameters; by default one group with the factor 1."""
        return [(1.0, [p for p in self.parameters() if p.requires_grad])]

    def adopt(self, trained: Head) -> None:
        """Take over what a head for other classes has learned; by default all of it, as it depends on no class."""
        self.load_state_dict(trained.state_dict())

    def on_shifted(self) -> Head:
        """The head for shifted versions of the data that it was trained on; by default itself."""
        return self

    def deployed(self) -> Head:
        """A head with the same logits that holds no more than a prediction needs; by default the head itself.

        A head whose training needs more overrides this, and computes here what is constant after training, such as a
        text classifier.
        """
        return self

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """What the logits are made of: terms (B, C) by name, whose sum they are; by default one term.

        features: raw image features, (B, D).
        """
        return {"classifier": self(features)}

    @property
    def support_terms(self) -> tuple[str, ...]:
        """The terms of `evidence` to which each support image adds its own part; none by default."""
        return ()

    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """What each support image adds to one logit: (B, N), whose sum over the images are the `support_terms`.

        Args:
            features: raw image features, (B, D).
            classes: (B,) int64, of whose logits it is.
        """
        raise NotImplementedError(f"{type(self).__name__} has no support_terms.")

    def frozen_buffer(self, name: str, tensor: Tensor) -> None:
        """Register a derived tensor: it moves with the head, but is not part of its checkpoint."""
        self.register_buffer(name, tensor.detach().clone(), persistent=False)


class Negative(Protocol):
    """A branch that speaks against classes, beside a head's own logits (`simnl.fewshot.negative.NegativeBranch`)."""

    def __call__(self, features: Tensor) -> Tensor:
        """The part that is added to the logits, (B, C), from raw image features (B, D)."""

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The terms of it, (B, C), by name."""


class ClassifierHead(Head):
    """Cosine with a fixed classifier, times the logit scale: many a method is this after its training.

        logits = s f W^T + b + negative(f)

    Args:
        classifier: W, (C, D).
        logit_scale: s.
        bias: b, (C,), or None.
        negative: the branch that speaks against a class, or None.
    """

    classifier: Tensor
    bias: Tensor | None

    def __init__(
        self, classifier: Tensor, logit_scale: float, bias: Tensor | None = None, negative: Negative | None = None
    ):
        super().__init__()
        self.logit_scale, self.negative = logit_scale, negative
        self.frozen_buffer("classifier", classifier)
        if bias is None:
            self.bias = None
        else:
            self.frozen_buffer("bias", bias)

    def cosines(self, features: Tensor) -> Tensor:
        """s f W^T, (B, C)."""
        return self.logit_scale * F.normalize(features, dim=-1) @ self.classifier.T

    def texts(self) -> Tensor:
        """The classifier, unit rows."""
        return F.normalize(self.classifier, dim=-1)

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The classifier's part, the bias, and the terms of the negative branch, where there are such."""
        terms = {"classifier": self.cosines(features)}
        if self.bias is not None:
            terms["bias"] = self.bias.expand_as(terms["classifier"])
        return terms if self.negative is None else terms | self.negative.evidence(features)

    def forward(self, features: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C)."""
        logits = self.cosines(features)
        if self.bias is not None:
            logits = logits + self.bias
        return logits if self.negative is None else logits + self.negative(features)


class SearchableHead(Head):
    """A head whose hyper-parameters can be searched after training, on cached terms.

    The formula is split by cost, and exists once for training, selection, search and test:

        terms(features)            expensive, free of hyper-parameters
        stage(terms, **sharpness)  hyper-parameters inside a non-linearity (e.g. beta)
        affine(stage, **mixing)    -> (base, slope), logits = base + alpha * slope

    `hparams` holds the values in use. `STAGE` and `MIXING` name the hyper-parameters of the two later parts; `alpha`
    is always the factor of the slope. base and slope are linear in the tensors of the stage, so each of these has a
    part of its own in the logits (`evidence`).
    """

    STAGE: tuple[str, ...] = ("beta",)
    MIXING: tuple[str, ...] = ()
    TERMS: Mapping[str, str] = {}  # what a reader is told for names of the stage: `R` is the positive text
    LINEAR: str | None = None  # the mixing hyper-parameter in which base and slope are linear, if there is one
    search_width: int = 1024  # numbers per image in the widest tensor of `terms`; bounds the search's chunks

    def __init__(self, **hparams: float):
        super().__init__()
        expected = {*self.STAGE, *self.MIXING, "alpha"}
        if set(hparams) != expected:
            raise ValueError(f"{type(self).__name__}'s hyper-parameters are {sorted(expected)}, got {sorted(hparams)}.")
        self.hparams = dict(hparams)

    @classmethod
    def hparams_of(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """The initial hyper-parameters that a config node holds, by the names that the constructor has for them."""
        return {name: node[name.upper()] for name in (*cls.STAGE, *cls.MIXING, "alpha")}

    @abstractmethod
    def terms(self, features: Tensor, **known: Tensor) -> Terms:
        """What does not depend on hyper-parameters, with B as the first dimension. `known` is as for `losses`."""

    @abstractmethod
    def stage(self, terms: Terms, **sharpness: float) -> Mapping[str, Tensor]:
        """What depends on the hyper-parameters of `STAGE` only."""

    @abstractmethod
    def affine(self, stage: Mapping[str, Tensor], **mixing: float) -> tuple[Tensor, Tensor]:
        """(base, slope), both (B, C): logits = base + alpha * slope."""

    def adopt(self, trained: Any) -> None:
        """As in the base, and the hyper-parameters that were chosen."""
        super().adopt(trained)
        self.hparams.update(trained.hparams)

    def combine(self, terms: Terms) -> Tensor:
        """Logits (B, C) at the hyper-parameters in use."""
        return self._mixed(self.stage(terms, **{name: self.hparams[name] for name in self.STAGE}))

    def _mixed(self, stage: Mapping[str, Tensor]) -> Tensor:
        base, slope = self.affine(stage, **{name: self.hparams[name] for name in self.MIXING})
        return base + self.hparams["alpha"] * slope

    def forward(self, features: Tensor, **known: Tensor) -> Tensor:
        """Raw image features (B, D) to logits (B, C). `known` is as for `losses`."""
        return self.combine(self.terms(features, **known))

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The part of each tensor of the stage: the logits with all others at zero, in which they are linear."""
        stage = self.stage(self.terms(features), **{name: self.hparams[name] for name in self.STAGE})
        none = {name: torch.zeros_like(value) for name, value in stage.items()}
        return {self.TERMS.get(name, name): self._mixed({**none, name: value}) for name, value in stage.items()}
