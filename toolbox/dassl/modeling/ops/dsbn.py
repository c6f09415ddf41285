"""Batch normalisation with statistics and parameters of its own for each domain.

Source: Chang et al., "Domain-Specific Batch Normalization for Unsupervised Domain Adaptation", CVPR 2019,
https://arxiv.org/abs/1906.03950.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DSBN1d", "DSBN2d"]


class _DSBN(nn.Module):
    """A batch norm per domain; `select_bn` says which one is used.

    Args:
        num_features: channels.
        n_domain: number of domains.
        eps, momentum, affine, track_running_stats: as for torch's batch norms.
    """

    kind: type[nn.Module]

    def __init__(
        self,
        num_features: int,
        n_domain: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        self.bn = nn.ModuleList(
            self.kind(num_features, eps, momentum, affine, track_running_stats) for _ in range(n_domain)
        )
        self.valid_domain_idxs = list(range(n_domain))
        self.n_domain = n_domain
        self.domain_idx = 0

    def select_bn(self, domain_idx: int = 0) -> None:
        """Use the batch norm of this domain from now on.

        Raises:
            ValueError: there is no such domain.
        """
        if domain_idx not in self.valid_domain_idxs:
            raise ValueError(f"domain_idx is {domain_idx}. Choose one of {self.valid_domain_idxs}")
        self.domain_idx = domain_idx

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the batch norm of the selected domain."""
        return self.bn[self.domain_idx](x)


class DSBN1d(_DSBN):
    """For features (B, D) or (B, D, L)."""

    kind = nn.BatchNorm1d


class DSBN2d(_DSBN):
    """For feature maps (B, C, H, W)."""

    kind = nn.BatchNorm2d
