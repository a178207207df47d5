"""Training images as Defense-GAN's generator draws them: what its "Rec" classifiers learn from.

Samangouei, Kabkab and Chellappa 2018, §3 and Table 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from armsrace.datasets import Dataset
from armsrace.defenses.inversion import invert
from armsrace.defenses.latent_search import LatentSearch
from armsrace.models import zoo
from armsrace.precision import reduced_precision

AT_ONCE = 500
SEARCH = LatentSearch(128, restarts=4, steps=60, halving=2.0)


def reconstructed(count: int, data: Dataset) -> Dataset:
    """The first `count` images under their own labels, each the nearest that the zoo's GAN draws.

    A short search, since tens of thousands are wanted where the defense has one: four restarts of
    sixty steps. Raises ValueError unless 1 <= count <= len(data), CheckpointError without the
    generator's weights.
    """
    chosen = data.take(count)
    generator = zoo.load("defense-gan", chosen.images.device)
    search = replace(SEARCH, precision=reduced_precision(chosen.images.device))
    parts = [invert(generator, part, search).images for part in chosen.images.split(AT_ONCE)]
    return replace(chosen, images=torch.cat(parts))
