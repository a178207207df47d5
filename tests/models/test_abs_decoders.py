"""The fast decoders give the images of the trained ones, and autograd's Jacobians."""

import torch

from armsrace.models.abs_vae import ClassDecoders
from tests.models.small_vaes import small


def test_folded_decoders_draw_the_same() -> None:
    model = small().double()
    latents = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(3)).double()
    torch.testing.assert_close(ClassDecoders(model).draw(latents), model.decode(latents).flatten(2))


def test_jacobians_are_autograds() -> None:
    decoders = ClassDecoders(small()).double()
    latents = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(4)).double()
    images, jacobian = decoders.linearized(latents)
    torch.testing.assert_close(images, decoders.draw(latents))
    assert jacobian.shape == (4, 3, 2, 784)
    for pixel in (0, 29, 400, 783):
        variable = latents.clone().requires_grad_()
        decoders.draw(variable)[:, :, pixel].sum().backward()
        torch.testing.assert_close(jacobian[..., pixel], variable.grad)


def test_weights_follow_no_training() -> None:
    model = small()
    decoders = ClassDecoders(model)
    assert not list(decoders.parameters())
    latents = torch.zeros(1, 3, 2)
    before = decoders.draw(latents)
    for value in model.parameters():
        value.data.zero_()
    assert torch.equal(decoders.draw(latents), before)
