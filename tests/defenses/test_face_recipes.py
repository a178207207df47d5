"""CelebA's recipes, run on faces that the test draws: each of the three trains and is of use."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from armsrace.datasets import Dataset
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.models.faces import SIDE, face_vae, gender_cnn
from armsrace.recipes import FACES, GENDER, gender_robust
from armsrace.training.loop import fit
from armsrace.training.recipe import one_cycle


def drawn_faces(count: int = 48) -> Dataset:
    """Noise around a disc: red for class 1, blue for class 0."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=draws)
    axis = torch.linspace(-1, 1, SIDE)
    disc = 0.7 * (axis[:, None].square() + axis.square() < 0.4)
    for place, label in enumerate(labels.tolist()):
        images[place, 0 if label else 2] += disc
    return Dataset(images, labels, "celeba", "train", "unverified", Path())


def test_the_three_recipes_run_on_drawn_faces() -> None:
    data, small = drawn_faces(), {"batch_size": 16, "learning_rate": one_cycle(0.02)}
    build = partial(gender_cnn, width=4)
    vae, _ = fit(partial(face_vae, 4, width=4), data, replace(FACES, epochs=20, **small))
    assert isinstance(vae, VariationalAutoencoder)
    with torch.no_grad():
        drawn = vae(data.images)
    assert drawn.shape == data.images.shape
    blank = (data.images - data.images.mean()).square().mean()
    assert (drawn - data.images).square().mean() < blank, "better than one grey"
    robust = gender_robust(vae, epsilon=3.0, pairs=2, steps=3)
    for recipe in (GENDER, robust):
        model, _ = fit(build, data, replace(recipe, epochs=6, **small))
        with torch.no_grad():
            assert (model(data.images).argmax(dim=1) == data.labels).double().mean() > 0.9
    assert "epsilon 3" in robust.settings
