"""The trainer that all methods share, from data to test.

If the image tower is frozen, an image is a constant feature vector. A method is a head on such features, or on pixels
if it changes the tower. Everything else is here, in the order in which it happens: what a method defines, set-up, one
step, selection, test. See docs/architecture.md and CONTRIBUTING.md ("Add a method").
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
from simnl.clip.finite import check_logits
from simnl.fewshot.capabilities import check_choices, check_towers, refusal
from simnl.fewshot.checkpoint import MODEL, epoch_file, load_trained, resuming
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.head_file import save_trained
from simnl.fewshot.inference import Declarations
from simnl.fewshot.inputs import open_inputs
from simnl.fewshot.loaders import in_steps, keep_products, products_of
from simnl.fewshot.schedule import build_schedule, learned_groups
from simnl.fewshot.search import Grid, search
from simnl.fewshot.selection import EpochSelection, accuracy_over, selection_images
from simnl.fewshot.sources import Sources
from simnl.fewshot.support import SupportSet
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.timing import Stopwatch, timed

log = logging.getLogger(__name__)


class VLTrainer(Declarations, TrainerX):
    """The base of all methods. A subclass defines `default_cfg` and `build_head`, and declares what it uses.

    Attributes set by a subclass:
        prompt_sets: the names of the prompt sets that the method needs (`template`, `negative`, `cupl`).
        optional_prompt_sets: prompt sets that the method uses if they are available; the log names missing ones.
        uses_support: False for a method that looks at no training image.
        training_free: True for a method that optimises nothing.
        image_encoder_frozen: False for a method that changes the image tower; its head gets pixels.
        text_features_cached: False for a method that runs the text tower in training, because it learns prompts.
        needs_vit: True for a method whose image tower must be a vision transformer.
        before_projection: True for a method whose image features are those before the image tower's projection.
        base_to_new: True if what is learned depends on no class, so that it works for classes not seen in training.
        revision: a number that a correction of the method's figures raises, so that older runs do not count as done.

    simnl/fewshot/capabilities.py turns these into reasons why a method cannot do something.
    """

    prompt_sets: tuple[str, ...] = ("template",)
    optional_prompt_sets: tuple[str, ...] = ()
    uses_support: bool = True
    training_free: bool = False
    image_encoder_frozen: bool = True
    text_features_cached: bool = True
    needs_vit: bool = False
    before_projection: bool = False
    base_to_new: bool = False
    revision: int = 1

    # The set-up makes these. The kind of head, and which of the others are None, depend on the method.
    head: Any
    support: Any
    validation: Any
    test_loader: Any
    train_loader_x: Any
    val_loader: Any
    keep_logits: Any = None  # a function that a run may set; it gets the test logits (B, C), batch by batch

    # ------------------------------------------------------------------ what a method defines

    @classmethod
    def default_cfg(cls) -> CN:
        """The defaults of the method's own config node, `cfg.TRAINER.<NAME in capitals>`."""
        return CN()

    @classmethod
    def prompt_sets_of(cls, cfg: CN) -> tuple[str, ...]:
        """The prompt sets that the method needs, given its own config node; by default `prompt_sets`."""
        return cls.prompt_sets

    @abstractmethod
    def build_head(self, task: FewShotTask, cfg: CN) -> Head:
        """Make the head, given the task and the method's own config node."""

    def build_train_loader(self, task: FewShotTask) -> Any:
        """The training batches, of one pass per epoch, or of STEPS_PER_SHOT * K steps if the method has this key."""
        return in_steps(self.inputs.train_loader(self.support), self.node.get("STEPS_PER_SHOT", 0) * task.num_shots)

    def build_optim(self, groups: list[dict]) -> torch.optim.Optimizer:
        """The optimiser of the head's parameter groups; by default the one that OPTIM names."""
        return build_optimizer(groups, self.cfg.OPTIM)

    def build_schedule(self, optim: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the learning rate; by default the one that OPTIM names."""
        return build_schedule(optim, self.cfg.OPTIM, len(self.train_loader_x), self.node.get("MIN_LR", 0.0))

    def fit(self) -> None:
        """Fit a head with a solver of the method's own. Called once, after the epochs and before the search."""

    def search_space(self, cfg: CN) -> Grid | None:
        """The grid to search after training; by default the node's `GRID` (`Grid.of`)."""
        return Grid.of(cfg.GRID) if cfg.get("GRID") else None

    # ------------------------------------------------------------------ set-up (called by the engine, in this order)

    def __init__(self, cfg: CN, sources: Sources | None = None):
        self.sources = sources or Sources()
        self.stopwatch = Stopwatch("features", "train", "select", "test")
        self.accuracy: dict[str, float] = {}  # accuracies in percent, by split
        self.num_settings = 1  # the number of settings of hyper-parameters that were tried
        self.settled: dict[str, float] = {}  # hyper-parameters that another training chose (PROTOCOL held-shot)
        super().__init__(cfg)

    def check_cfg(self, cfg: CN) -> None:
        """Check the values of the keys that this class reads; the engine calls this first."""
        check_choices(cfg)
        check_towers(type(self), cfg)

    def build_data_loader(self) -> None:
        """Make the data set, the frozen CLIP, and the loaders, which yield features under Dassl's batch keys."""
        cfg = self.cfg
        self.dm = self.sources.data(cfg)  # comes first, so that missing data are reported before weights are fetched
        backbone, dataset = cfg.MODEL.BACKBONE, self.dm.dataset
        if reason := refusal(type(self), arch=backbone.ARCH, eval_only=dataset.eval_only):
            raise ValueError(f"{type(self).__name__} on {cfg.DATASET.NAME}: {reason}.")
        self.clip = self.sources.clip(cfg, self.device, self.takes)
        self.num_classes, self.lab2cname = self.dm.num_classes, self.dm.lab2cname
        self.classnames = tuple(self.lab2cname[label] for label in range(self.num_classes))
        self.sources.check_prompts(self)
        self.store = self.sources.store(cfg, self.clip)
        self.inputs = open_inputs(cfg, self.store, self.device, pixels=not self.image_encoder_frozen)
        self.gather_features(dataset)

    @timed("features")
    def gather_features(self, dataset) -> None:
        """Encode the images of the test, of training and of selection that are not in the store."""
        self.val_loader = self.train_loader_x = self.train_loader_u = None  # names of the engine
        self.test_loader = self.seen_by_head(self.inputs.stream(dataset.test))
        self.support = self.inputs.support(dataset) if self.uses_support else None
        images = selection_images(self.cfg, dataset) if self.uses_support else []
        self.validation = self.inputs.validation(images) if images else None
        self.num_val = len(images)

    def build_model(self) -> None:
        """Make the task, the head, its optimiser and its schedule, and register the head with the engine."""
        self.task = self.build_task(self.dm.dataset, self.classnames, self.support)
        if self.support is not None:
            self.train_loader_x = self.build_train_loader(self.task)
        self.head = self.model = self.build_head(self.task, self.node).to(self.device)
        groups = learned_groups(self.head, self.cfg.OPTIM)
        self.num_parameters = sum(p.numel() for group in groups for p in group["params"])
        self.trains = bool(groups) and self.max_epoch > 0
        optim = self.build_optim(groups) if self.trains else None
        sched = self.build_schedule(optim) if optim is not None else None
        self.register_model(MODEL, self.head, optim, sched)
        if self.trains and self.head.num_products:
            most = self.cfg.STORE.PRODUCTS_MB * 2**20
            keep_products(self.head, self.train_loader_x, self.validation, self.max_epoch, most)

    def build_task(self, dataset, classnames: tuple[str, ...], support: Any, cfg: CN | None = None) -> FewShotTask:
        """The task of the classes of a data set. `support` is None for a task without support images, and `cfg` has
        the prompts if the data set is not the run's own."""
        cfg = cfg or self.cfg
        prompts = self.sources.prompts(self, dataset, classnames, cfg)
        support = support or SupportSet.empty(self.clip.image_dim)
        shots = self.cfg.DATASET.NUM_SHOTS - self.cfg.SELECTION.HOLD_OUT
        return FewShotTask.of(support, prompts, classnames, shots, self.clip, self.device, cfg.PROMPTS.POSITIVE)

    # ------------------------------------------------------------------ one step (hooks of the engine)

    def before_train(self) -> None:
        """Find the epoch to start from, and load the scores of earlier epochs."""
        if not self.trains:
            self.max_epoch = 0
        super().before_train()
        rule, folder = self.cfg.SELECTION, Path(self.output_dir)
        selects = self.trains and self.num_val > 0 and rule.EPOCH == "best" and not rule.HOLD_OUT
        self.selection = EpochSelection(folder, self.start_epoch, rule.TIES) if selects else None

    def init_writer(self, log_dir: str) -> None:
        """Open TensorBoard's log, if the sources want one."""
        if self.sources.writes_log:
            super().init_writer(log_dir)

    def resume_model_if_exist(self, directory: str) -> int:
        """Continue an interrupted run. A method that does not train starts anew."""
        if not self.trains:
            return 0
        with resuming(directory):
            return super().resume_model_if_exist(directory)

    def before_epoch(self) -> None:
        """Set the epoch of the loader, on which order and views depend."""
        self.train_loader_x.epoch = self.epoch

    @timed("train")
    def run_epoch(self) -> None:
        """The engine's epoch, which calls `forward_backward` for each batch."""
        super().run_epoch()
        self.sources.epoch_done()

    def parse_batch_train(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Features (B, D), or pixels (B, 3, H, W), and labels (B,) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def forward_backward(self, batch: dict) -> dict[str, float]:
        """Take one step, and return the loss and its terms for the log."""
        features, labels = self.parse_batch_train(batch)
        losses = self.head.losses(features, labels, **products_of(batch))
        terms = torch.stack(list(losses.values()))
        loss = terms.sum()
        self.model_backward_and_update(loss)
        if self.cfg.OPTIM.STEP == "batch" or self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        total, *values = torch.cat([loss[None], terms]).tolist()  # one transfer from a GPU
        return {"loss": total, **(dict(zip(losses, values, strict=True)) if len(losses) > 1 else {})}

    # ------------------------------------------------------------------ selection

    def after_epoch(self) -> None:
        """Score the epoch on the selection images, then let the engine write its checkpoint."""
        if self.selection is not None:
            self.write_scalar("val/accuracy", self.score_epoch(self.selection), self.epoch)
        super().after_epoch()
        if self.selection is not None and epoch_file(self.output_dir, self.epoch + 1).is_file():
            self.selection.prune()

    @timed("select")
    def score_epoch(self, selection: EpochSelection) -> float:
        """The validation accuracy after this epoch in percent, which the selection stores."""
        score = self.validation_accuracy()
        selection.add(self.head, score)
        return score

    def validation_accuracy(self) -> float:
        """The accuracy in percent on the images that the protocol lets a method select on."""
        return accuracy_over(self.head, self.validation, self.device)

    @timed("select")
    def select(self) -> None:
        """Take the best epoch, call the method's own solver if it has one, and search the hyper-parameters."""
        if self.selection is not None:
            self.selection.restore(self.head)
            log.info("Best epoch on the %s images: %s", self.cfg.PROTOCOL, self.selection)
        self.fit()
        if self.settled and isinstance(self.head, SearchableHead):
            self.head.hparams.update(self.settled)
        rule, grid = self.cfg.SEARCH, self.search_space(self.node)
        if grid is not None and rule.ENABLED and isinstance(self.head, SearchableHead) and self.num_val:
            self.num_settings = search(
                self.head, self.validation, grid, mode=rule.MODE, ties=rule.TIES, progress=self.cfg.VERBOSE
            )

    # ------------------------------------------------------------------ test

    def after_train(self) -> None:
        """Select, write the trained head, and test once."""
        self.select()
        save_trained(Path(self.output_dir), self)
        print("Finish training")  # Dassl's line, after which its log parsers look for the accuracy
        if not self.cfg.TEST.NO_TEST:
            self.test()
        self.close_writer()

    def about(self) -> dict:
        """The description of the head for its file: plain values that json can hold."""
        hparams = getattr(self.head, "hparams", {})
        return {"method": type(self).__name__, "classnames": list(self.classnames), "hparams": hparams}

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a trained head instead of training; see `load_trained`."""
        load_trained(directory, self.head, self.about(), epoch)

    @timed("test")
    def test(self, split: str | None = None) -> float:
        """Evaluate on a split (default: cfg.TEST.SPLIT), and store the accuracy in percent in `accuracy`."""
        self.accuracy[split or self.cfg.TEST.SPLIT] = result = float(super().test(split))
        return result

    def model_inference(self, features: Tensor) -> Tensor:
        """Logits (B, C).

        Raises:
            NotFinite: logits are NaN or infinite, so an accuracy would mean nothing.
        """
        logits = self.head.transduce(features)
        check_logits(logits, type(self).__name__)
        if self.keep_logits is not None:
            self.keep_logits(logits)
        return logits
