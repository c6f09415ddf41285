"""How fp32 numbers are multiplied: exactly, unless a run asks for less, and in the same way each time.

PyTorch's own defaults differ by operation and device. On a GPU, convolutions round their inputs to TF32 (10 bits) while
products of matrices do not, and some sums depend on the order in which threads arrive.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from simnl.config_names import check_choice

MATMUL = ("highest", "high", "medium")  # values of torch.set_float32_matmul_precision


def set_arithmetic(matmul: str, cuda: bool) -> None:
    """Set this process's arithmetic for a run.

    Args:
        matmul: the precision of fp32 products in heads and learned prompts (never of the stored features). `highest` is
            fp32, `high` is TF32 or three bf16 products, and `medium` is bf16 inputs that are summed in fp32. The last
            two are approximations, if the hardware has them.
        cuda: True to ask for operations of a GPU that give the same result each time.

    Raises:
        ValueError: the precision is unknown.
    """
    check_choice("MATMUL", matmul, MATMUL)
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = matmul != "highest"
    if cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS varies without it
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic: Any = torch.utils.deterministic  # torch's annotations lack this attribute
        deterministic.fill_uninitialized_memory = False  # no code here reads memory before it is written


@contextmanager
def exact_products() -> Iterator[None]:
    """Within the block, fp32 products are exact whatever the run asks for, because all runs share stored features."""
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
