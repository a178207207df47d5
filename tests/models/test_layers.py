"""Layers of ours equal PyTorch's where it has the same."""

import pytest
import torch
from torch import nn

from armsrace.models.layers import ToOneChannel


@pytest.mark.parametrize(("kernel", "more"), [(4, 0), (5, 1)])
def test_one_channel_equals_the_transposed_convolution(kernel: int, more: int) -> None:
    shape = {"stride": 2, "padding": (kernel - 1) // 2, "output_padding": more}
    ours, theirs = ToOneChannel(6, kernel, **shape), nn.ConvTranspose2d(6, 1, kernel, **shape)
    theirs.load_state_dict(ours.state_dict())
    features = torch.randn(3, 6, 14, 14, requires_grad=True)
    images, expected = ours(features), theirs(features)
    assert images.shape == expected.shape == (3, 1, 28, 28)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(x.square().sum(), features)[0] for x in (images, expected)]
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)
