"""The hourglass: shapes at any size, one image's output its own, the box kept."""

import pytest
import torch

from armsrace.models.layers import parameters
from armsrace.models.skip_network import SkipNetwork


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (17, 23)])
@pytest.mark.parametrize("channels", [1, 3])
def test_draws_images_of_the_codes_size(size, channels) -> None:
    torch.manual_seed(0)
    drawn = SkipNetwork(2, channels, inputs=4, widths=(3, 5, 2))(torch.rand(2, 4, *size))
    assert drawn.shape == (2, channels, *size)
    assert drawn.min() >= 0 and drawn.max() <= 1 and drawn.std() > 0.01


def test_an_image_is_drawn_from_its_own_code_and_weights() -> None:
    torch.manual_seed(0)
    network = SkipNetwork(3, inputs=4, widths=(4, 4))
    codes = torch.rand(3, 4, 16, 16, requires_grad=True)
    drawn = network(codes)
    weights = list(network.parameters())
    grads = torch.autograd.grad(drawn[1].sum(), [codes, *weights])
    for grad in grads:
        first, _second, third = grad.unflatten(0, (3, -1)).flatten(1).abs().amax(1)
        assert first == third == 0
    assert grads[0][1].abs().max() > 0


def test_many_networks_are_many_times_one() -> None:
    assert parameters(SkipNetwork(5)) == 5 * parameters(SkipNetwork(1))


def test_eval_mode_draws_the_same() -> None:
    torch.manual_seed(0)
    network, codes = SkipNetwork(2, inputs=4, widths=(4,)), torch.rand(2, 4, 8, 8)
    assert torch.equal(network(codes), network.eval()(codes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "images must be >= 1"),
        ({"images": 1, "channels": 0}, "channels must be >= 1"),
        ({"images": 1, "inputs": 0}, "inputs must be >= 1"),
        ({"images": 1, "widths": ()}, "widths must be >= 1"),
    ],
)
def test_bad_counts_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        SkipNetwork(**settings)
