"""Loaders, epoch selection, the task."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from dassl.utils import save_checkpoint
from simnl.fewshot.checkpoint import epoch_file, load_head, load_trained, restore_head, save_head
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.loaders import (
    LabelledFeatures,
    StreamLoader,
    SupportLoader,
    ViewProducts,
    keep_products,
    products_of,
)
from simnl.fewshot.selection import EpochSelection, accuracy


def loader(rows=10, views=3, batch=4, seed=1, drop_last=False, order="cycle") -> SupportLoader:
    features = torch.arange(views * rows, dtype=torch.float32).view(views, rows, 1)
    return SupportLoader(features, torch.arange(rows), batch, seed, drop_last, order)


def epoch_of(loader: SupportLoader, epoch: int) -> tuple[list[int], list[float]]:
    loader.epoch = epoch
    batches = list(loader)
    assert len(batches) == len(loader)
    return torch.cat([b["index"] for b in batches]).tolist(), torch.cat([b["img"] for b in batches]).flatten().tolist()


def test_each_epoch_is_a_permutation_of_one_view():
    ours = loader()
    for epoch in range(4):
        index, features = epoch_of(ours, epoch)
        assert sorted(index) == list(range(10))
        assert features == [10 * (epoch % 3) + i for i in index]
    assert epoch_of(ours, 0)[0] != epoch_of(ours, 1)[0]


def test_the_order_depends_on_seed_and_epoch_only():
    assert epoch_of(loader(), 2) == epoch_of(loader(), 2)
    assert epoch_of(loader(seed=2), 2) != epoch_of(loader(), 2)


@pytest.mark.parametrize(
    ("rows", "batch", "drop", "lengths"),
    [(47, 256, True, [47]), (752, 256, True, [256, 256]), (752, 256, False, [256, 256, 240]), (4, 4, True, [4])],
)
def test_drop_last_arithmetic(rows, batch, drop, lengths):
    assert [len(b["label"]) for b in loader(rows, 1, batch, drop_last=drop)] == lengths


def test_the_stream_loader_keeps_order():
    chunks = [torch.ones(1, 2, 3), 2 * torch.ones(1, 1, 3)]
    batches = list(StreamLoader(lambda: iter(chunks), [5, 6, 7]))
    assert torch.cat([b["label"] for b in batches]).tolist() == [5, 6, 7]
    assert torch.cat([b["index"] for b in batches]).tolist() == [0, 1, 2]
    assert batches[1]["img"].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("order", ["cycle", "pool"])
def test_products_of_a_view_are_computed_once_and_lie_beside_its_features(order):
    ours, asked = loader(order=order), []

    def products(features):
        asked.append(features.flatten().tolist())
        return torch.cat([features, -features], dim=1)

    ours.kept = ViewProducts(products, 2, ours.features)
    for epoch in (2, 0, 1, 2, 5):
        ours.epoch = epoch
        for batch in ours:
            torch.testing.assert_close(products_of(batch)["products"], torch.cat([batch["img"], -batch["img"]], dim=1))
    assert sorted(asked) == ours.features.flatten(1).tolist()  # whole views: whatever the order, the same products
    before, ours.kept = list(ours), ViewProducts(products, 2, ours.features, suffice=True)
    for old, new in zip(before, ours, strict=True):
        assert new["img"].shape == (len(new["label"]), 0)  # features that nobody reads are not copied
        assert all(torch.equal(new[name], old[name]) for name in ("products", "label", "index"))


def test_products_are_kept_within_a_limit_only():
    train, val = loader(rows=10, views=3), LabelledFeatures(torch.zeros(6, 1), torch.zeros(6))
    head = SimpleNamespace(products=None, num_products=5, products_suffice=False)
    sizes = 3 * 10 * 5 * 4, 6 * 5 * 4  # bytes: training views, validation images
    for epochs, limit, kept in (
        (4, sum(sizes), [True, True]),
        (4, sum(sizes) - 1, [True, False]),
        (4, sizes[0] - 1, [False, True]),
        (4, sizes[1] - 1, [False, False]),
        (3, sum(sizes), [False, True]),  # no view is read twice
    ):
        train.kept = val.kept = None
        keep_products(head, train, val, epochs, limit)
        assert [train.kept is not None, val.kept is not None] == kept
    keep_products(head, train, None, 4, sum(sizes))  # nothing to select on
    images = LabelledFeatures(torch.arange(5000.0)[:, None], torch.arange(5000))
    images.kept = ViewProducts(torch.neg, 1, images.features[None])
    batches = list(images)
    assert [len(b["label"]) for b in batches] == [4096, 904]
    assert torch.equal(torch.cat([b["products"] for b in batches]), -images.features)
    assert "products" not in next(iter(LabelledFeatures(images.features, images.labels)))


class OneNumber(Head):
    """Predicts class 1 where the feature is above a learned number."""

    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.frozen_buffer("derived", torch.zeros(3))

    def forward(self, features):
        return torch.cat([torch.zeros_like(features), features - self.value], 1)


def test_accuracy_and_default_loss():
    head, x, y = OneNumber(0.5), torch.tensor([[0.0], [1.0], [2.0], [0.2]]), torch.tensor([0, 1, 0, 1])
    assert accuracy(head, x, y) == 50.0
    assert head.training
    torch.testing.assert_close(head.losses(x, y)["ce"], F.cross_entropy(head(x), y))
    assert list(head.state_dict()) == ["value"]


def test_the_first_best_epoch_is_kept_and_survives_a_crash(tmp_path):
    selection = EpochSelection(tmp_path, 0)
    for epoch, score in enumerate([50.0, 60.0, 60.0, 55.0]):
        selection.add(OneNumber(float(epoch)), score)
    assert selection.best_epoch == 1
    restored = OneNumber(-1.0)
    selection.restore(restored)
    assert restored.value.item() == 1.0
    # A checkpoint existed after epoch 1 only: the crash lost epochs 2 to 4, but the best of epoch 1 is still there.
    resumed = EpochSelection(tmp_path, 1)
    assert resumed.scores == [50.0]
    resumed.restore(restored)
    assert restored.value.item() == 0.0
    selection.prune()
    assert len(list(tmp_path.glob("best-epoch*"))) == 1


def test_the_last_of_equally_good_epochs_where_asked_for(tmp_path):
    selection = EpochSelection(tmp_path, 0, "last")
    for epoch, score in enumerate([60.0, 50.0, 60.0, 55.0]):
        selection.add(OneNumber(float(epoch)), score)
        selection.prune()
    assert (selection.best_epoch, str(selection)) == (2, "epoch 3 of 4 (60.00 %)")
    restored = OneNumber(-1.0)
    selection.restore(restored)
    assert restored.value.item() == 2.0
    resumed = EpochSelection(tmp_path, 4, "last")
    resumed.add(OneNumber(4.0), 60.0)
    assert resumed.best_epoch == 4


def test_scores_that_do_not_reach_the_checkpoint_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"selection.json has the scores of 0 epochs.* delete .*selection.json"):
        EpochSelection(tmp_path, 3)


@pytest.mark.parametrize("content", [b"", b"[1.0,", b"\xff\xfe", b"{}", b'["a"]', b"[[1]]", b"[true]"])
def test_damaged_scores_are_named_with_what_to_do_and_of_no_use_from_the_start(tmp_path, content):
    path = tmp_path / "selection.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged.* delete {path} and the checkpoints in .*head"):
        EpochSelection(tmp_path, 1)
    assert EpochSelection(tmp_path, 0).scores == []


@pytest.mark.parametrize("damage", [None, b"", b"x" * 100])
def test_damaged_weights_of_the_best_epoch_are_named_with_what_to_do(tmp_path, damage):
    selection = EpochSelection(tmp_path, 0)
    selection.add(OneNumber(1.0), 50.0)
    path = tmp_path / "best-epoch1.safetensors"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ValueError, match=f"{path}.* delete .*selection.json and the checkpoints in .*head"):
        selection.restore(OneNumber(0.0))


def test_a_head_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match=r"head.safetensors cannot be written \(No space left"):
        save_head(tmp_path / "head.safetensors", OneNumber(1.0), {})
    assert not list(tmp_path.iterdir())


def test_a_head_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    save_head(path, OneNumber(1.0), {})
    with pytest.raises(ValueError, match=rf"{path} does not fit this run: .*weight"):
        restore_head(path, nn.Linear(2, 2), {})


def test_heads_on_disk(tmp_path):
    path = tmp_path / "head.safetensors"
    save_head(path, OneNumber(2.5), {"classnames": ["a", "b"]})
    state, about = load_head(path)
    assert state["value"].item() == 2.5
    assert about == {"classnames": ["a", "b"]}
    assert [p.name for p in tmp_path.iterdir()] == ["head.safetensors"]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="damaged"):
        load_head(path)
    with pytest.raises(FileNotFoundError, match="There is no trained head at .*none. Train, or"):
        load_head(tmp_path / "none")


def test_a_searchable_head_refuses_unknown_hyper_parameters():
    class Cache(SearchableHead):
        """Needs beta and alpha."""

    with pytest.raises(ValueError, match="alpha"):
        Cache(beta=1.0, gamma=2.0)


def test_a_checkpoint_of_another_head_is_named(tmp_path):
    file = epoch_file(tmp_path, 3)
    save_checkpoint({"state_dict": nn.Linear(2, 3).state_dict(), "epoch": 3}, str(file.parent))
    load_trained(tmp_path, nn.Linear(2, 3), {}, epoch=3)
    with pytest.raises(ValueError, match=rf"^{file} does not fit this run: .*size mismatch for weight"):
        load_trained(tmp_path, nn.Linear(2, 4), {}, epoch=3)
