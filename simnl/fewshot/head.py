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
SCORED_NUMBERS = 2**26  # of a temporary (image, key) tensor of an evaluation: 256 MB, 4,096 images with 16,384 keys
WHOLE_ROWS = 16  # images are scored in multiples of so many, for which kernels split their work alike


class Head(Rebuildable, nn.Module):
    """Turns raw image features `(B, D)` into logits `(B, C)`.

    A head gets tensors and plain numbers: no config, no path, no loader. Derived tensors are non-persistent buffers, so
    the state dict is exactly what the head learned. The arguments of the constructor and the state dict therefore
    define a head completely, and a head file holds both (`simnl.fewshot.head_file`).

    A head whose cost is products of features with frozen tensors may offer them as `products`. The products of stored
    views are then computed once and given to `losses` and `forward` (`loaders.ViewProducts`).
    """

    num_products: int = 0  # width of the result of `products`; 0 if a head offers none
    products_suffice: bool = False  # whether `losses` reads nothing of the features where it is given their products
    support_terms: tuple[str, ...] = ()  # the terms of `evidence` to which each support image adds its own part
    not_exported: str = ""  # why the head cannot be exported, to be read after "<method> " (`simnl.fewshot.export`)
    transduction: nn.Module | None  # (features, logits) of a whole set -> logits; works on any method

    def __init__(self):
        super().__init__()
        self.transduction = None

    def products(self, features: Tensor) -> Tensor:
        """Products (B, num_products) that depend only on raw image features (B, D) and on frozen tensors."""
        raise NotImplementedError(f"{type(self).__name__} offers no products.")

    def sides(self, features: Tensor) -> dict[str, Tensor]:
        """The positive and the negative side of the logits, (B, C) each, by the names of
        `simnl.metrics.two_sided.Sides`.

        By default a head has no sides, and the result is empty. `features` are raw image features, (B, D).
        """
        return {}

    def texts(self) -> Tensor | None:
        """Unit text features (C, D) that the logits compare images with (for scores of patches, DAC); None: none."""
        return None

    def own_scores(self, features: Tensor) -> dict[str, Tensor]:
        """The method's own scores (B,), by name, of whether an image shows a known class; larger means known.

        By default there are none. Scores of logits exist for every head (`simnl.metrics.scores`). `features` are raw,
        (B, D).
        """
        return {}

    def transduce(self, features: Tensor) -> Tensor:
        """Logits (M, C) of a whole set of images with raw features (M, D), as an evaluation needs them.

        By default these are the logits of `forward`, where each image is treated by itself. A head that uses the whole
        set, at once or as a stream, overrides this and declares it (`VLTrainer.inference`).
        """
        logits = self.scored(features)
        return logits if self.transduction is None else self.transduction(features, logits)

    def scored(self, features: Tensor, **known: Tensor) -> Tensor:
        """The logits (M, C) of `forward` for any number of images, in bounded memory. `known` is as for `losses`."""
        return self(features, **known)

    def losses(self, features: Tensor, labels: Tensor, **known: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the training loss, which is their sum.

        Args:
            features: raw image features, (B, D).
            labels: (B,) int64.
            known: `products=` of the features, if they are known.
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
        """A head with the same logits that holds only what a prediction needs; by default the head itself.

        A head whose training needs more overrides this, and computes constants such as a text classifier here.
        """
        return self

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The terms (B, C), by name, whose sum are the logits; by default one term.

        `features` are raw image features, (B, D).
        """
        return {"classifier": self(features)}

    def support_evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """What each support image adds to one logit, (B, N). The sum over the images is that of the `support_terms`.

        Args:
            features: raw image features, (B, D).
            classes: (B,) int64, the class of the logit of each image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no support_terms.")

    def frozen_buffer(self, name: str, tensor: Tensor) -> None:
        """Register a derived tensor, which moves with the head but is not part of its checkpoint."""
        self.register_buffer(name, tensor.detach().clone(), persistent=False)


class Negative(Protocol):
    """A negative branch beside the logits of a head (`simnl.fewshot.negative.NegativeBranch`)."""

    def __call__(self, features: Tensor) -> Tensor:
        """The part that is added to the logits, (B, C), from raw image features (B, D)."""

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The terms of the branch, (B, C), by name."""


class ClassifierHead(Head):
    """Cosine with a fixed classifier, times the logit scale. Many methods are such a head after their training.

        logits = s f W^T + b + negative(f)

    Args:
        classifier: W, (C, D).
        logit_scale: s.
        bias: b, (C,), or None.
        negative: the negative branch, or None.
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
        """The term of the classifier, and the bias and the terms of the negative branch if there are any."""
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

    The formula is split by cost. Training, selection, search and test all use these three parts:

        terms(features)            expensive, free of hyper-parameters
        stage(terms, **sharpness)  hyper-parameters inside a non-linearity (e.g. beta)
        affine(stage, **mixing)    -> (base, slope), logits = base + alpha * slope

    `hparams` holds the values in use. `STAGE` and `MIXING` name the hyper-parameters of the second and the third part;
    `alpha` is always the factor of the slope. base and slope are linear in the tensors of the stage, so the logits are
    a sum with one term for each of these tensors (`evidence`).
    """

    STAGE: tuple[str, ...] = ("beta",)
    MIXING: tuple[str, ...] = ()
    TERMS: Mapping[str, str] = {}  # names for people of the tensors of the stage, e.g. `R` is the positive text
    LINEAR: str | None = None  # the mixing hyper-parameter in which base and slope are linear, if there is one
    settled: tuple[str, ...] = ()  # hyper-parameters that a search leaves as they are
    search_width: int = 1024  # numbers per image in the widest tensor of `terms`; bounds chunks of search and scoring
    search_rows: int = 1  # a chunk has so many images at least: more where each setting is costly for any number

    def __init__(self, **hparams: float):
        super().__init__()
        expected = {*self.STAGE, *self.MIXING, "alpha"}
        if set(hparams) != expected:
            raise ValueError(f"{type(self).__name__} has hyper-parameters {sorted(expected)}, not {sorted(hparams)}.")
        self.hparams = dict(hparams)

    @classmethod
    def hparams_of(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """The initial hyper-parameters in a config node, by their names in the constructor."""
        return {name: node[name.upper()] for name in (*cls.STAGE, *cls.MIXING, "alpha")}

    @abstractmethod
    def terms(self, features: Tensor, **known: Tensor) -> Terms:
        """Tensors (B, ...) that do not depend on hyper-parameters. `known` is as for `losses`."""

    @abstractmethod
    def stage(self, terms: Terms, **sharpness: float) -> Mapping[str, Tensor]:
        """The tensors that depend only on the hyper-parameters of `STAGE`."""

    @abstractmethod
    def affine(self, stage: Mapping[str, Tensor], **mixing: float) -> tuple[Tensor, Tensor]:
        """(base, slope), both (B, C): logits = base + alpha * slope."""

    def adopt(self, trained: Any) -> None:
        """Take over what a head for other classes has learned, and the hyper-parameters that were chosen."""
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

    def scored(self, features: Tensor, **known: Tensor) -> Tensor:
        """The logits of `forward`, of as many images at once as their temporary tensors allow."""
        most = max(WHOLE_ROWS, SCORED_NUMBERS // self.search_width // WHOLE_ROWS * WHOLE_ROWS)
        if len(features) <= most:
            return self(features, **known)
        starts = range(0, len(features), most)
        parts = ({name: rows[i : i + most] for name, rows in {"features": features, **known}.items()} for i in starts)
        return torch.cat([self(**part) for part in parts])

    def evidence(self, features: Tensor) -> dict[str, Tensor]:
        """The term of each tensor of the stage: the logits are linear in these tensors, with all others at zero."""
        stage = self.stage(self.terms(features), **{name: self.hparams[name] for name in self.STAGE})
        none = {name: torch.zeros_like(value) for name, value in stage.items()}
        return {self.TERMS.get(name, name): self._mixed({**none, name: value}) for name, value in stage.items()}
