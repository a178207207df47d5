"""MagNet: scores in closed form, thresholds, refusal as a class, and the shipped nets' rates."""

import math

import pytest
import torch
from torch import nn

from armsrace import attacks, datasets
from armsrace.defenses import JensenShannon, MagNet, ReconstructionError, jensen_shannon
from armsrace.losses import margin
from armsrace.models import zoo


class Shifted(nn.Module):
    """An autoencoder that is off by a constant."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.offset


class Halved(nn.Module):
    """An autoencoder that is the further off the brighter an image is: no two scores are equal."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 2


class Brightness(nn.Module):
    """A detector of bright images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(1)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize(("p", "expected"), [(1, 0.3), (2, 0.09)])
def test_reconstruction_error_in_closed_form(p, expected, images) -> None:
    scores = ReconstructionError(Shifted(-0.3), p)(images)
    assert scores.shape == (200,)
    assert torch.allclose(scores, torch.tensor(expected))


def test_jensen_shannon_in_closed_form() -> None:
    first = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]).log().clamp_min(-80)
    second = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.75, 0.25]]).log().clamp_min(-80)
    last = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    expected = torch.tensor([math.log(2), 0.0, last])
    assert torch.allclose(jensen_shannon(first, second), expected, atol=1e-6)
    assert torch.allclose(jensen_shannon(second, first), expected, atol=1e-6)


def test_divergence_uses_the_temperature(classifier, images) -> None:
    for temperature in (1.0, 10.0):
        logs = [
            (classifier(batch) / temperature).log_softmax(1) for batch in (images, images - 0.5)
        ]
        scores = JensenShannon(Shifted(-0.5), classifier, temperature)(images)
        assert torch.allclose(scores, jensen_shannon(*logs), atol=1e-7)
        assert (scores >= -1e-7).all() and (scores <= math.log(2)).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda net: ReconstructionError(net, 0), "p must be >="),
        (lambda net: JensenShannon(net, net, 0.0), "temperature must be >="),
        (lambda net: MagNet(net, net, []), "detectors must hold at least one"),
    ],
)
def test_bad_settings_are_refused(build, message) -> None:
    with pytest.raises(ValueError, match=message):
        build(nn.Identity())


def test_nothing_is_refused_before_calibration(classifier, images) -> None:
    assert not MagNet(classifier, nn.Identity(), [Brightness()]).detected(images).any()


def test_calibration_keeps_each_detector_at_its_rate(classifier, images) -> None:
    net = MagNet(classifier, nn.Identity(), [Brightness(), ReconstructionError(Shifted(0.2), 2)])
    thresholds = []
    for rate in (0.01, 0.05, 0.2):
        net.calibrate(images, rate)
        refused = net.scores(images) > net.thresholds
        assert (refused.float().mean(0) <= rate).all()
        assert refused[:, 0].float().mean().item() == pytest.approx(rate)
        assert torch.equal(net.detected(images), refused.any(1))
        thresholds.append(net.thresholds[0].item())
    assert thresholds == sorted(thresholds, reverse=True)


def test_logits_are_those_of_the_reformed_image(classifier, images) -> None:
    net = MagNet(classifier, Shifted(-0.1), [Brightness()])
    assert torch.equal(net(images), classifier(images - 0.1))


def test_the_last_class_wins_exactly_where_an_image_is_refused(classifier, images) -> None:
    net = MagNet(classifier, Shifted(-0.1), [Brightness(), ReconstructionError(Halved(), 2)])
    net.calibrate(images[:100], 0.3)
    refused = net.detected(images[100:])
    assert 0 < refused.sum() < 100
    assert torch.equal(net.excess(images[100:]) > 0, refused)
    assert torch.equal(net.with_refusal()(images[100:]).argmax(1) == 3, refused)


def test_a_joint_attack_gets_past_the_detector(classifier, images) -> None:
    net = MagNet(classifier, nn.Identity(), [Brightness()])
    net.calibrate(images, 0.2)
    quiet = images[~net.detected(images)][:20]
    labels = net(quiet).argmax(1)
    targets = (labels + 1) % 3
    setting = {"steps": 100, "binary_search_steps": 3, "step_size": 0.05, "initial_constant": 1.0}
    found = attacks.carlini_wagner_l2(net.with_refusal(), quiet, labels, targets=targets, **setting)
    assert found.success.float().mean() > 0.9
    assert not net.detected(found.images[found.success]).any()
    assert (margin(net(found.images[found.success]), targets[found.success]) < 0).all()


@pytest.mark.skipif("magnet-1" not in zoo.names(), reason="needs the weights of magnet-1")
def test_the_shipped_detector_and_reformer() -> None:
    held_out, test = datasets.held_out().take(1000), datasets.load("mnist").images[-500:]
    reformer, classifier = zoo.load("magnet-1"), zoo.load("carlini-wagner")
    net = MagNet(classifier, reformer, [ReconstructionError(reformer, 2)])
    net.calibrate(held_out.images, 0.01)
    with torch.no_grad():
        # The image at the threshold is in a batch of another size here, and rounds otherwise.
        assert net.detected(held_out.images).sum() <= 10 + 1
        assert net.detected(test).float().mean() < 0.04
        assert net.detected(torch.rand(50, 1, 28, 28)).all()
        # Reforming is near idempotent: a second pass moves an image much less than the first.
        once = reformer(test)
        twice = reformer(once)
        assert (twice - once).square().mean() < 0.5 * (once - test).square().mean()
        assert (classifier(once).argmax(1) == classifier(test).argmax(1)).float().mean() > 0.98
