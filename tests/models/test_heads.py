from __future__ import annotations

import torch

from ethosteer.models.heads import ScalarHeads


def test_scalar_heads_by_hand():
    heads = ScalarHeads(2, 2, bias=True)
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    assert not heads(hidden).any(), "a value head starts at zero"
    with torch.no_grad():
        heads.weights[0].copy_(torch.tensor([1.0, 10.0]))
        heads.weights[1].copy_(torch.tensor([2.0, 0.0]))
        heads.biases[1].fill_(0.5)
    assert heads(hidden).tolist() == [[21.0, 43.0], [10.5, 14.5]]
    assert heads(hidden, [1]).tolist() == [[2.5, 6.5], [10.5, 14.5]]
    assert heads(hidden.to(torch.bfloat16)).dtype == torch.float32
    assert heads.arm_parameters(1) == [heads.weights[1], heads.biases[1]]


def test_a_score_head_has_no_bias_and_starts_alike_in_every_arm():
    heads = ScalarHeads(2, 400, bias=False, seed=4)
    assert list(heads.biases) == []
    assert torch.equal(heads.weights[0], heads.weights[1])
    assert 0.2 * 400**-0.5 < heads.weights[0].detach().std() < 0.3 * 400**-0.5
