"""The path of ImageNet on small stand-ins: a folder of pictures, any network, the prior."""

import numpy
import pytest
import torch
from PIL import Image

from armsrace import attacks, datasets, defenses, evaluation

SIZE = 24


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes, waves along the rows and along the columns, larger than the network wants."""
    root, places = tmp_path_factory.mktemp("pictures"), numpy.linspace(0, 6, 40)
    for name, axis in {"n01": 0, "n02": 1}.items():
        (root / name).mkdir()
        for number in range(2):
            wave = 127.5 + 100 * numpy.sin(places + number)
            pixels = numpy.broadcast_to(numpy.expand_dims(wave, axis), (40, 40))
            colors = numpy.stack([pixels, pixels / 2, 255 - pixels], axis=2).astype(numpy.uint8)
            Image.fromarray(colors).save(root / name / f"{number}.png")
    return datasets.image_folder(root, size=SIZE)


@pytest.fixture(scope="module")
def network():
    """Which of the two ways the picture varies, behind a layer that normalizes."""

    class Waves(torch.nn.Module):
        def forward(self, images):
            normal = (images - 0.5) / 0.25
            along = [normal.mean(dim=dim).var(dim=2).mean(dim=1) for dim in (2, 3)]
            return torch.stack(along, dim=1)

    return Waves().eval()


def test_the_prior_stands_before_any_network(pictures, network) -> None:
    task = pictures.images, pictures.labels
    assert evaluation.accuracy(network, *task) == 1
    worse = attacks.bim(network, *task, epsilon=8 / 255)
    prior = defenses.DeepImagePrior(50, widths=(8, 8), skip=2, tolerance=0.01)
    guarded = defenses.Purified(prior, network)
    drawn = guarded.purify(worse.images)
    assert drawn.shape == (4, 3, SIZE, SIZE)
    assert (drawn - worse.images).square().mean() < 0.03
    assert evaluation.accuracy(network, drawn, pictures.labels) == 1
    assert torch.equal(guarded(worse.images), network(drawn))
