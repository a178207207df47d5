"""The architectures are those of the papers, layer by layer."""

import pytest
import torch
from torch import nn

from armsrace.models import classifiers, zoo
from armsrace.models.layers import Maxout, parameters, predict

# Counted by hand from the papers' tables: weights and biases of each layer, in order.
COUNTS = {
    "softmax": 7_850,
    "logistic-3-vs-7": 1_570,
    "maxout": 784 * 1200 + 1200 + 240 * 1200 + 1200 + 240 * 10 + 10,
    "s3-cnn": 160 + 4_640 + 18_496 + 23_050,
    "trained-detector": 120 + 2_616 + 1_730,
    "carlini-wagner": 320 + 9_248 + 18_496 + 36_928 + 205_000 + 40_200 + 2_010,
    **dict.fromkeys(("carlini-wagner-even", "carlini-wagner-odd"), 312_202),
    "lenet": 520 + 25_050 + 400_500 + 5_010,
    "dense-500-150": 392_500 + 75_150 + 1_510,
    "cifar-cnn": 27 * 32
    + 9 * (32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    + 2 * 2 * (32 + 64 + 128)
    + 20_490,
    "cifar-resnet": 27 * 32
    + sum(2 * i + 10 * i * o + 2 * o + 9 * o * o for i, o in ((32, 64), (64, 128), (128, 256)))
    + 512
    + 2_570,
    "rbf": 2 * 7_840,
    "schott-cnn": 520 + 40 + 22_470 + 140 + 161_536 + 512 + 64_010,
    "abs": 10 * (61_616 + 23_745),
    "madry": 832 + 51_264 + 3_212_288 + 10_250,
    "tramer-a": 1_664 + 102_464 + 3_276_928 + 1_290,
    "tramer-b": 4_160 + 295_040 + 409_728 + 1_290,
    "tramer-c": 1_280 + 73_792 + 4_718_720 + 1_290,
    "tramer-d": 235_500 + 3 * 90_300 + 3_010,
    "defense-gan-a": 1_664 + 102_464 + 1_179_776 + 1_290,
    "defense-gan-b": 4_160 + 295_040 + 409_728 + 1_290,
    "defense-gan-c": 1_280 + 204_864 + 1_179_776 + 1_290,
    "defense-gan-d": 157_000 + 40_200 + 2_010,
    "defense-gan-e": 157_000 + 40_200 + 2_010,
    "defense-gan-f": 4_160 + 295_040 + 409_728 + 1_290,
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_size_is_the_papers(name: str, count: int) -> None:
    model = zoo.build(name)
    assert parameters(model) == count
    classes = 2 if name in ("logistic-3-vs-7", "trained-detector") else 10
    shape = (3, 32, 32) if zoo.entry(name).dataset == "cifar10" else (1, 28, 28)
    assert predict(model, torch.rand(3, *shape)).shape == (3, classes)


@pytest.mark.parametrize(("with_dropout", "without"), ["BF", "DE"])
def test_defense_gan_pairs_differ_by_dropout_alone(with_dropout: str, without: str) -> None:
    dropped = classifiers.defense_gan(with_dropout)
    bare = classifiers.defense_gan(without)
    bare.load_state_dict(dict(zip(bare.state_dict(), dropped.state_dict().values(), strict=True)))
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(predict(dropped, images), predict(bare, images))
    rates = [layer.p for layer in bare.modules() if isinstance(layer, nn.Dropout)]
    assert not any(rates)
    assert any(layer.p for layer in dropped.modules() if isinstance(layer, nn.Dropout))


@pytest.mark.parametrize("build", [classifiers.tramer, classifiers.defense_gan])
@pytest.mark.parametrize("letter", ["", "G", "AB", "BF"])
def test_unknown_letter(build, letter: str) -> None:
    with pytest.raises(ValueError, match="letter must be one of"):
        build(letter)


def test_maxout_takes_the_greatest_piece() -> None:
    layer = Maxout(inputs=1, units=2, pieces=2)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0], [-1.0], [2.0], [0.5]]))
        layer.linear.bias.zero_()
    assert layer(torch.tensor([[3.0], [-4.0]])).tolist() == [[3.0, 6.0], [4.0, -2.0]]


def test_predict_leaves_the_mode() -> None:
    model = classifiers.maxout(units=8, pieces=2).train()
    images = torch.rand(5, 1, 28, 28)
    assert torch.allclose(predict(model, images, 2), predict(model, images, 5), atol=1e-6)
    assert model.training
    wrapper = nn.Sequential(model.eval())
    predict(wrapper, images)
    assert wrapper.training and not any(part.training for part in model.modules())
