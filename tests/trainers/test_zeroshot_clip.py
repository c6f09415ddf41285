"""Zero-shot logits against the definition."""

import torch

from trainers.zeroshot_clip import ZeroshotHead


def test_logits_are_scaled_cosines():
    x, w = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    w = w / w.norm(dim=1, keepdim=True)
    head = ZeroshotHead(w, 17.0)
    for b in range(3):
        for c in range(4):
            torch.testing.assert_close(head(x)[b, c], 17.0 * (x[b] @ w[c]) / x[b].norm())
    assert not list(head.parameters())
    assert not head.state_dict()
