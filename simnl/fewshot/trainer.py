"""The trainer that all methods share: data, features, optimiser, selection, evaluation.

Where the image tower is frozen, an image is a constant feature vector. A method is a head on such features (or, where
it changes the tower, on pixels); everything else stands here, once. See docs/architecture.md and CONTRIBUTING.md ("Add
a method").
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.engine import TrainerX
from dassl.optim import build_optimizer
from dassl.utils import load_checkpoint
from simnl.clip.finite import check_logits
from simnl.fewshot.capabilities import check_choices, refusal
from simnl.fewshot.checkpoint import restore_head, save_head
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.inputs import FeatureInputs, PixelInputs
from simnl.fewshot.loaders import given, keep_products
from simnl.fewshot.schedule import build_schedule
from simnl.fewshot.search import Grid, axis, choose, count_grid
from simnl.fewshot.selection import EpochSelection, accuracy_over, selection_images
from simnl.fewshot.sources import Sources
from simnl.fewshot.support import SupportSet
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.timing import Stopwatch

log = logging.getLogger(__name__)


class VLTrainer(TrainerX):
    """Base of all methods. A subclass gives `default_cfg` and `build_head`, and declares what it uses.

    Attributes set by a subclass:
        prompt_sets: names of the prompt sets that the method needs (`template`, `negative`, `cupl`).
        optional_prompt_sets: used where available; the run says so where they are not.
        uses_support: False for a method that looks at no training image.
        training_free: nothing is optimised.
        image_encoder_frozen: False for a method that changes the image tower: its head gets pixels.
        text_features_cached: False for a method that runs the text tower in training (learned prompts).
        needs_vit: the image tower must be a vision transformer.
        base_to_new: what is learned depends on no class, so that it works for classes not seen in training.
        revision: raised with a correction that changes the method's figures, so that older runs do not count as done.

    simnl/fewshot/capabilities.py turns these into reasons why a method cannot do something.
    """

    prompt_sets: tuple[str, ...] = ("template",)
    optional_prompt_sets: tuple[str, ...] = ()
    uses_support: bool = True
    training_free: bool = False
    image_encoder_frozen: bool = True
    text_features_cached: bool = True
    needs_vit: bool = False
    base_to_new: bool = False
    revision: int = 1

    # What the set-up makes. Which kind of head, and which of the others are None, is the method's to know.
    head: Any
    support: Any
    validation: Any
    test_loader: Any
    train_loader_x: Any
    val_loader: Any

    # ------------------------------------------------------------------ what a method gives

    @classmethod
    def default_cfg(cls) -> CN:
        """Defaults of the method's own node, `cfg.TRAINER.<NAME in capitals>`."""
        return CN()

    @abstractmethod
    def build_head(self, task: FewShotTask, cfg: CN) -> Head:
        """The method, given the task and its own config node."""

    @classmethod
    def prompt_sets_of(cls, cfg: CN) -> tuple[str, ...]:
        """The prompt sets that the method needs, given its own config node; by default `prompt_sets`."""
        return cls.prompt_sets

    def search_space(self, cfg: CN) -> Grid | None:
        """The grid to search after training; by default the node's `GRID`, name -> [low, high, steps]."""
        if "GRID" not in cfg:
            return None
        return Grid({name.lower(): axis(low, high, int(steps)) for name, (low, high, steps) in cfg.GRID.items()})

    def fit(self) -> None:
        """Called once after the epochs, before the search: for methods with a solver of their own."""

    def build_optim(self, groups: list[dict]) -> torch.optim.Optimizer:
        """The optimiser of the head's parameter groups; by default the one that OPTIM names."""
        return build_optimizer(groups, self.cfg.OPTIM)

    def build_schedule(self, optim: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the learning rate; by default the one that OPTIM names."""
        return build_schedule(optim, self.cfg.OPTIM, len(self.train_loader_x))

    # ------------------------------------------------------------------ set-up (called by the engine)

    def __init__(self, cfg: CN, sources: Sources | None = None):
        self.sources = sources or Sources()
        super().__init__(cfg)

    def check_cfg(self, cfg: CN) -> None:
        """Called first by the engine: the values of the keys that this class reads."""
        check_choices(cfg)
        self.stopwatch = Stopwatch("features", "train", "select", "test")
        self.accuracy: dict[str, float] = {}
        self.num_settings = 1

    @property
    def node(self) -> CN:
        """The method's own config node."""
        return self.cfg.TRAINER[type(self).__name__.upper()]

    def build_data_loader(self) -> None:
        """Data set, frozen CLIP, features; loaders that yield features under Dassl's batch keys."""
        cfg = self.cfg
        self.dm = self.sources.data(cfg)  # missing data is told before weights are fetched
        backbone, dataset = cfg.MODEL.BACKBONE, self.dm.dataset
        reason = refusal(type(self), arch=backbone.ARCH, eval_only=dataset.eval_only)
        if reason:
            raise ValueError(f"{type(self).__name__} on {cfg.DATASET.NAME}: {reason}.")
        self.clip = self.sources.clip(cfg, self.device)
        self.num_classes, self.lab2cname = self.dm.num_classes, self.dm.lab2cname
        self._check_prompts(dataset)
        self.store = self.sources.store(cfg, self.clip)
        inputs = FeatureInputs if self.image_encoder_frozen else PixelInputs
        self.inputs = inputs(cfg, self.store, self.clip.preprocess, self.device)
        with self.stopwatch.phase("features"):
            self._build_loaders(dataset)

    def _check_prompts(self, dataset) -> None:
        """Classes that no prompt tells apart are told, or refused, before anything is encoded."""
        own_names = getattr(dataset, "own_names", False) or bool(self.cfg.DATASET.CLASSNAMES_FILE)
        if not self.text_features_cached:
            self.sources.check_names(self.clip, ["{}"], self._classnames(), own_names)
        elif "template" in self.prompt_sets_of(self.node):
            self.sources.check_names(self.clip, self.cfg.PROMPTS.POSITIVE, self._classnames(), own_names)

    def _build_loaders(self, dataset) -> None:
        self.test_loader = self.inputs.stream(dataset.test)
        self.val_loader = self.train_loader_x = self.train_loader_u = self.validation = None
        self.support: SupportSet | None = None
        self.num_val = 0
        if not self.uses_support:
            return
        self.support = self.inputs.support(dataset)
        self.train_loader_x = self.inputs.train_loader(self.support)
        images = selection_images(self.cfg, dataset)
        self.num_val = len(images)
        if images:
            self.validation = self.inputs.validation(images)

    def build_model(self) -> None:
        """Head, optimiser and schedule, registered with the engine under the name `head`."""
        self.task = self._build_task(self.dm.dataset, self._classnames(), self.support)
        self.head = self.model = self.build_head(self.task, self.node).to(self.device)
        groups = [(factor, params) for factor, params in self.head.parameter_groups() if params]
        self.trains = bool(groups) and self.max_epoch > 0
        optim = sched = None
        if self.trains:
            o = self.cfg.OPTIM
            optim = self.build_optim([{"params": p, "lr": o.LR * f, "eps": o.EPS} for f, p in groups])
            sched = self.build_schedule(optim)
        self.register_model("head", self.head, optim, sched)
        self.num_parameters = sum(p.numel() for _, params in groups for p in params)
        if self.trains and self.head.num_products:
            limit = self.cfg.STORE.PRODUCTS_MB * 2**20
            keep_products(self.head, self.train_loader_x, self.validation, self.max_epoch, limit)

    def _build_task(self, dataset, classnames: tuple[str, ...], support: SupportSet | None) -> FewShotTask:
        needed = self.prompt_sets_of(self.node)
        prompts = self.sources.prompts(self.cfg, dataset, classnames, self.store, needed, self.optional_prompt_sets)
        support = support or SupportSet.empty(self.clip.embed_dim)
        return FewShotTask(
            support_features=support.features,
            support_labels=support.labels.to(self.device),
            support_classes=support.classes.to(self.device),
            prompts=prompts,
            classnames=classnames,
            num_shots=self.cfg.DATASET.NUM_SHOTS,
            logit_scale=self.clip.logit_scale,
            clip=self.clip,
            device=self.device,
        )

    def _classnames(self) -> tuple[str, ...]:
        return tuple(self.lab2cname[label] for label in range(self.num_classes))

    # ------------------------------------------------------------------ training (hooks of the engine)

    def run_epoch(self) -> None:
        """The engine's epoch, timed."""
        with self.stopwatch.phase("train"):
            super().run_epoch()
        self.sources.epoch_done(self.epoch + 1, self.max_epoch)

    def resume_model_if_exist(self, directory: str) -> int:
        """Continue an interrupted run; a method that does not train has nothing to continue.

        Raises:
            ValueError: a checkpoint that is damaged; the message says what to delete.
        """
        if not self.trains:
            return 0
        try:
            return super().resume_model_if_exist(directory)
        except (FileNotFoundError, ValueError) as error:
            folder = Path(directory) / "head"
            raise ValueError(f"{error} To train from the start, delete {folder} and run again.") from error

    def init_writer(self, log_dir: str) -> None:
        """TensorBoard's log, where there is to be one."""
        if self.sources.writes_log:
            super().init_writer(log_dir)

    def before_train(self) -> None:
        """Find where to start, and what epoch selection already knows."""
        if not self.trains:
            self.max_epoch = 0
        super().before_train()
        rule, folder = self.cfg.SELECTION, Path(self.output_dir)
        selects = self.trains and self.num_val > 0 and rule.EPOCH == "best"
        self.selection = EpochSelection(folder, self.start_epoch, rule.TIES) if selects else None

    def before_epoch(self) -> None:
        """Tell the loader which epoch it is: order and view depend on it."""
        self.train_loader_x.epoch = self.epoch

    def parse_batch_train(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Features (B, D), or pixels (B, 3, H, W), and labels (B,) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def parse_batch_test(self, batch: dict) -> tuple[Tensor, Tensor]:
        """As in training."""
        return self.parse_batch_train(batch)

    def forward_backward(self, batch: dict) -> dict[str, float]:
        """One step; returns the loss and its terms for the log."""
        features, labels = self.parse_batch_train(batch)
        losses = self.head.losses(features, labels, **given(batch))
        terms = torch.stack(list(losses.values()))
        loss = terms.sum()
        self.model_backward_and_update(loss)
        if self.cfg.OPTIM.STEP == "batch" or self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        total, *values = torch.cat([loss[None], terms]).tolist()  # one transfer from a GPU
        return {"loss": total, **(dict(zip(losses, values, strict=True)) if len(losses) > 1 else {})}

    def after_epoch(self) -> None:
        """Score the epoch on the selection images, then let the engine write its checkpoint."""
        if self.selection is not None:
            with self.stopwatch.phase("select"):
                score = self.validation_accuracy()
                self.selection.add(self.head, score)
            self.write_scalar("val/accuracy", score, self.epoch)
        super().after_epoch()
        if self.selection is not None and self._checkpoint(self.epoch + 1).is_file():
            self.selection.prune()

    def validation_accuracy(self) -> float:
        """Percent, on the images that the protocol lets a method select on."""
        return accuracy_over(self.head, self.validation, self.device)

    def _checkpoint(self, epoch: int) -> Path:
        return Path(self.output_dir) / "head" / f"model.pth.tar-{epoch}"

    def after_train(self) -> None:
        """Deploy the selected epoch, search the hyper-parameters, keep the result, then test, once."""
        with self.stopwatch.phase("select"):
            if self.selection is not None:
                self.selection.restore(self.head)
                log.info("Best epoch on the %s images: %s", self.cfg.PROTOCOL, self.selection)
            self.fit()
            self._search()
        save_head(Path(self.output_dir) / "head.safetensors", self.head, self._about())
        print("Finish training")  # Dassl's line, after which its log parsers look for the accuracy
        if not self.cfg.TEST.NO_TEST:
            self.test()
        self.close_writer()

    def _search(self) -> None:
        grid = self.search_space(self.node)
        searchable = isinstance(self.head, SearchableHead) and self.cfg.SEARCH.ENABLED
        if grid is None or not (searchable and self.uses_support and self.num_val):
            return
        search, initial = self.cfg.SEARCH, self.validation_accuracy()
        counts = count_grid(
            self.head, self.validation.features, self.validation.labels, grid, self.cfg.VERBOSE, search.MODE
        )
        self.num_settings = int((counts >= 0).sum())  # all of them, unless the search is coarse to fine
        best = 100.0 * counts.max().item() / self.num_val
        if search.TIES == "first" or best > initial:
            self.head.hparams.update(choose(counts, grid, self.head.hparams, search.TIES))
        log.info("Searched %d settings: %.2f %% -> %.2f %%, %s", self.num_settings, initial, best, self.head.hparams)

    def _about(self) -> dict:
        return {
            "method": type(self).__name__,
            "classnames": list(self._classnames()),
            "hparams": getattr(self.head, "hparams", {}),
        }

    # ------------------------------------------------------------------ evaluation

    def test(self, split: str | None = None) -> float:
        """Evaluate on a split (default: cfg.TEST.SPLIT); remembers the accuracy in percent."""
        with self.stopwatch.phase("test"):
            result = super().test(split)
        self.accuracy[split or self.cfg.TEST.SPLIT] = float(result)
        return result

    def head_for(self, dataset) -> Head:
        """What was learned, in a head for the classes of another data set; for methods that are `base_to_new`."""
        classnames = tuple(dataset.lab2cname[label] for label in range(dataset.num_classes))
        head = self.build_head(self._build_task(dataset, classnames, None), self.node).to(self.device).eval()
        head.load_state_dict(self.head.state_dict())
        return head

    def model_inference(self, features: Tensor) -> Tensor:
        """Logits (B, C).

        Raises:
            NotFinite: NaN or infinite ones, of which an accuracy would mean nothing.
        """
        logits = self.head(features)
        check_logits(logits, type(self).__name__)
        return logits

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a trained head: the deployed one, or the engine's checkpoint of an epoch.

        Raises:
            FileNotFoundError: nothing there; ValueError: another method's, or other classes.
        """
        if not (self.head.state_dict() or isinstance(self.head, SearchableHead)):
            log.info("%s learns nothing: there is no model to load.", type(self).__name__)
            return
        if epoch:
            checkpoint = load_checkpoint(str(Path(directory) / "head" / f"model.pth.tar-{epoch}"))
            self.head.load_state_dict(checkpoint["state_dict"])
            return
        about = restore_head(Path(directory) / "head.safetensors", self.head, self._about())
        if isinstance(self.head, SearchableHead):
            self.head.hparams.update(about["hparams"])
