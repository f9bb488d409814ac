"""Oracle: indexing, and the identity of tensors."""

from __future__ import annotations

import torch

from seqlra.rules.views import Selection


def test_what_was_picked_is_kept() -> None:
    tensor, some = torch.randn(5, 3), Selection(torch.tensor([4, 1]))
    picked = some.of(tensor)
    assert torch.equal(picked, tensor[[4, 1]])
    assert some.of(tensor) is picked
