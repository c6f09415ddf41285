"""GraphAdapter: the row computed once against the full graph convolution; formulas in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from simnl.fewshot.search import Grid, count_grid
from trainers.graph_adapter import GraphAdapterHead, aggregate_row_zero
from trainers.zeroshot_clip import ZeroshotHead

SIZES = [(8, 4), (10, 4), (7, 4), (3, 4), (5, 1), (1, 4)]  # classes, groups: groups of unequal size, fewer than 4


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def full_convolution(first: torch.Tensor, nodes: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Row 0 of A^ X Theta of one graph, with all of its M x M edges."""
    x = torch.cat([first[None], nodes])
    length = len(x)
    edges = torch.zeros(length, length, dtype=x.dtype)
    for m in range(length):
        for n in range(length):
            norms = x[m].norm() * x[n].norm()
            edges[m, n] = max(0.0, (x[m] @ x[n] / norms).item()) if norms > 0 else 0.0
    edges += torch.eye(length, dtype=x.dtype)
    assert edges[0, 0].item() == pytest.approx(2)
    degree = torch.diag(edges.sum(1) ** -0.5)
    return (degree @ edges @ degree @ x @ theta)[0]


def make_head(classes: int = 6, width: int = 5, **options) -> GraphAdapterHead:
    visual = random(classes, width, seed=1)
    visual[-1] = 0  # a class without images
    settings = {"beta": 0.6, "text_share": 0.7, "groups": 4, "seed": 1, **options}
    head = GraphAdapterHead(3 * random(classes, width), visual, 10.0, **settings).double()
    for seed, bias in enumerate((head.bias_text, head.bias_image), 7):
        bias.data = 0.1 * random(classes, width, seed=seed)
    head.visual = visual
    return head


@pytest.mark.parametrize(("classes", "groups"), SIZES)
def test_the_row_equals_the_full_graph_convolution(classes, groups):
    groups = min(groups, classes)
    first, nodes, theta = random(classes, 5), random(classes, 5, seed=1), random(5, 5, seed=2)
    nodes[-1] = 0
    rows = aggregate_row_zero(first, nodes, groups)
    assert rows.shape == (classes, groups, 5)
    for c in range(classes):
        for q in range(groups):
            members = nodes[[j for j in range(classes) if j % groups == q]]
            torch.testing.assert_close(
                rows[c, q] @ theta, full_convolution(first[c], members, theta), atol=1e-13, rtol=0
            )


def naive_logits(head, x, parameters):
    theta_text, bias_text, theta_image, bias_image = parameters
    columns = []
    for c in range(6):
        g = 0.0
        for q in range(4):
            members = [j for j in range(6) if j % 4 == q]
            text = torch.tanh(full_convolution(head.text[c], head.text[members], theta_text) + bias_text[c])
            image = torch.tanh(full_convolution(head.text[c], head.visual[members], theta_image) + bias_image[c])
            g = g + (0.7 * text + 0.3 * image) / 4
        t = 0.6 * head.text[c] + 0.4 * g
        columns.append(torch.stack([10 * (f @ t) / f.norm() / t.norm() for f in x]))
    return torch.stack(columns, dim=1)


def test_logits_loss_and_gradient_equal_a_naive_evaluation():
    head, x, labels = make_head(), random(5, 5, seed=3), torch.tensor([0, 5, 1, 1, 2])
    learned = [head.theta_text, head.bias_text, head.theta_image, head.bias_image]
    copies = [p.detach().clone().requires_grad_() for p in learned]
    naive = naive_logits(head, x, copies)
    torch.testing.assert_close(head(x), naive)
    loss = sum(-naive[b].log_softmax(0)[labels[b]] for b in range(5)) / 5
    ours = head.losses(x, labels)["ce"]
    assert ours.item() == pytest.approx(loss.item())
    torch.testing.assert_close(torch.autograd.grad(ours, learned), torch.autograd.grad(loss, copies))


def test_beta_one_is_zero_shot_clip():
    head, x = make_head(beta=1.0), random(9, 5, seed=3)
    torch.testing.assert_close(head(x), ZeroshotHead(F.normalize(head.text, dim=-1), 10.0)(x))


def test_the_search_over_beta_counts_what_forward_predicts():
    head, x, labels = make_head(), random(50, 5, seed=3), torch.arange(50) % 6
    grid = Grid({"beta": [0.1, 0.5, 0.9], "alpha": [1.0]})
    counts = count_grid(head, x, labels, grid)
    for i, beta in enumerate(grid.axes["beta"]):
        head.hparams["beta"] = beta
        assert counts[i, 0] == (head(x).argmax(1) == labels).sum()


def test_initial_weights():
    head = GraphAdapterHead(torch.ones(3, 64), torch.ones(3, 64), 1.0, beta=0.7, text_share=0.7, groups=4, seed=1)
    for theta in (head.theta_text, head.theta_image):
        assert theta.abs().max() <= 1 / 8
        assert theta.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.05)
    assert not torch.equal(head.theta_text, head.theta_image)
    assert head.bias_text.abs().max() == head.bias_image.abs().max() == 0


def test_parameters():
    text = torch.ones(1000, 1024)
    head = GraphAdapterHead(text, text, 100.0, beta=0.7, text_share=0.7, groups=4, seed=1)
    assert sum(p.numel() for p in head.parameters()) == 4_145_152
    assert set(head.state_dict()) == {"theta_text", "theta_image", "bias_text", "bias_image"}


@pytest.mark.parametrize("wrong", [{"beta": 1.2}, {"text_share": -0.1}, {"groups": 0}])
def test_wrong_options_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=rf"TRAINER\.GRAPHADAPTER\.{next(iter(wrong)).upper()}"):
        make_head(**wrong)
