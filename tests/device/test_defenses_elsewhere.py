"""Every defense on another device: what it answers, what it purifies, and how it is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, defenses, recipes
from armsrace.attacks.adaptive import bpda, unrolled
from armsrace.datasets import Dataset
from armsrace.models.abs_vae import ClassDecoders
from armsrace.models.classifiers import interval_cnn
from armsrace.models.zoo import load
from armsrace.recipes import gender_robust
from armsrace.training.loop import fit
from armsrace.training.recipe import Objective, cross_entropy
from tests.attacks.borrowed import SEEDS
from tests.defenses.linear_classes import LinearClasses, noisy_draws
from tests.device.test_attacks_elsewhere import Given, drawing, draws, given
from tests.elsewhere import same_on_both
from tests.models.small_vaes import small

SEARCH = defenses.LatentSearch(4, restarts=3, steps=4)
QUICK = defenses.LevenbergMarquardt(steps=3, starts=2)


def explaining(device: torch.device, **settings: Any) -> Given:
    """Analysis by synthesis, images and the classes that it reads in them."""
    settings = {"search": QUICK, "samples": 12, "generator": draws()} | settings
    model = defenses.AnalysisBySynthesis(LinearClasses(), **settings)
    images, labels = noisy_draws(model, 3)
    return model.to(device), images.to(device), labels.to(device)


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(module).to(device)


def by_synthesis(device: torch.device) -> Any:
    model, images, labels = explaining(device)
    quick = defenses.AdamSearch(steps=2)
    built = defenses.AnalysisBySynthesis(LinearClasses().to(device), search=quick, samples=12)
    polished = defenses.PolishedSearch(quick, defenses.LevenbergMarquardt(steps=2, starts=1))
    digits = defenses.AnalysisBySynthesis(
        ClassDecoders(small().to(device)), search=polished, samples=12
    )
    return (
        model.explain(images), model.confidences(images), built(images),
        digits(SEEDS[:2].to(device)), attacks.fgsm(model, images, labels, epsilon=0.2),
    )  # fmt: skip


def searched(device: torch.device, search: Any) -> Any:
    model, images, _ = explaining(device, search=search)
    return model.explain(images)


def binary(device: torch.device) -> Any:
    """Its factors are made on the CPU, and follow the module."""
    model, images, labels = explaining(torch.device("cpu"))
    weighted = defenses.ClassWeighted(model, torch.tensor([1.1, 0.9, 1.0])).to(device)
    whole = defenses.Purified(bpda(defenses.Binarized()), weighted)
    images, labels = images.to(device), labels.to(device)
    return whole(images), attacks.fgsm(whole, images, labels, epsilon=0.3)


def factors(device: torch.device) -> Tensor:
    model, images, labels = explaining(device)
    return defenses.fitted_factors(model.costs(images), labels, steps=3)


def image_prior(device: torch.device) -> Any:
    images = SEEDS[:2, :, 6:22, 6:22].to(device)
    prior = defenses.DeepImagePrior(3, widths=(4, 4), skip=1, generator=draws())
    stopped = defenses.DeepImagePrior(4, widths=(4, 4), skip=1, tolerance=0.1)
    moving = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(unrolled(stopped)(moving).sum(), moving)
    return prior.path(images, [1, 3]), stopped(images), slope


def detected(device: torch.device) -> Any:
    model, images, labels = given(device)
    score = defenses.Divergence(moved(drawing(), device))
    threshold = defenses.threshold_at(score(images).detach(), rate=0.5)
    guarded = defenses.Detected(model, score, threshold)
    rate = defenses.detection_rate(score(images).detach(), threshold)
    return guarded(images), rate, attacks.bim(guarded, images, labels, epsilon=0.1, steps=2)


def surprise(device: torch.device) -> Tensor:
    model, images, _ = given(device)
    return defenses.CrossNetworkNLL(model, moved(model, device))(images)


def published_detectors(device: torch.device, name: str) -> Any:
    """The score, its gradient and an attack, of detectors built on the CPU and on the device."""
    model, images, labels = given(device)
    here, _, _ = given(torch.device("cpu"))
    known, classes = SEEDS[2:32], torch.arange(30) % 10

    def built(network: Any, place: torch.device) -> nn.Module:
        stored = known.to(place)
        if name == "density":
            head = nn.Identity()
            return defenses.KernelDensity(network, head, stored, classes.to(place), 10.0)
        if name == "components":
            return defenses.PrincipalComponents(stored, first=9)
        if name == "trained":
            return defenses.TrainedDetector(load("trained-detector", place))
        squeezers = [bpda(defenses.BitDepth(1)), defenses.MedianFilter(2)]
        return defenses.FeatureSqueezing(network, squeezers)

    outcomes = []
    for score in (built(here, torch.device("cpu")).to(device), built(model, device)):
        moving = images.clone().requires_grad_()
        values = score(moving)
        (slope,) = torch.autograd.grad(values.sum(), moving)
        threshold = defenses.threshold_at(values.detach(), rate=0.5)
        guarded = defenses.Detected(model, score, threshold)
        found = attacks.bim(guarded, images, labels, epsilon=0.1, steps=2)
        outcomes.append((values, slope, found))
    return outcomes


def squeezed(device: torch.device) -> Any:
    _, images, _ = given(device)
    return defenses.BitDepth(2)(images), defenses.MedianFilter(3)(images)


def divergence(device: torch.device) -> Tensor:
    _, images, _ = given(device)
    return defenses.divergence(images, images.flip(3))


def jensen_shannon(device: torch.device) -> Any:
    model, images, _ = given(device)
    logs = model(images).log_softmax(dim=1)
    score = defenses.JensenShannon(moved(drawing(), device), model, temperature=10.0)
    return defenses.jensen_shannon(logs, logs.flip(1)), score(images)


def magnet(device: torch.device) -> Any:
    model, images, labels = given(device)
    reformer = moved(drawing(), device)
    detectors = [defenses.ReconstructionError(reformer, p) for p in (1, 2)]
    guard = defenses.MagNet(model, reformer, detectors).to(device)
    guard.calibrate(SEEDS[4:24].to(device), rate=0.2).eval()
    refusing = guard.with_refusal()
    found = attacks.pgd(refusing, images, (labels + 1) % 10, epsilon=0.2, steps=2)
    return guard(images), guard.detected(images), guard.thresholds, found


def inverted(device: torch.device, **changes: Any) -> Any:
    vae, images = moved(drawing(), device), SEEDS[:2].to(device)
    return defenses.invert(vae.decode, images, replace(SEARCH, **changes), generator=draws())


def on_the_way(device: torch.device) -> Any:
    vae, images = moved(drawing(), device), SEEDS[:2].to(device)
    return defenses.inversion_path(vae.decode, images, SEARCH, [1, 2], generator=draws())


def projected(device: torch.device) -> Any:
    """Defense-GAN from drawn starts, invert-and-classify from an encoder's."""
    model, images, labels = given(device)
    vae = moved(drawing(), device)
    gan = defenses.LatentProjection(vae.decode, SEARCH)
    near = defenses.LatentProjection(
        vae.decode, replace(SEARCH, restarts=1), starts=lambda x: vae.encode(x)[0][:, None]
    )
    found = [
        attacks.fgsm(defenses.Purified(shown, model), images, labels, epsilon=0.2)
        for shown in (bpda(gan), bpda(near), unrolled(near))
    ]
    return gan(images), near(images), found


def nearest_neighbor(device: torch.device) -> Any:
    """Built on the CPU and moved, and built on the device."""
    known, labels = SEEDS[2:32], torch.arange(30) % 10
    images = SEEDS[:2].to(device)
    model = defenses.NearestNeighbor(known, labels).to(device)
    built = defenses.NearestNeighbor(known.to(device), labels.to(device))
    own = model(images).argmax(dim=1)
    found = [
        attacks.latent_descent(model, images, own, explain=model.nearest, coarse=5),
        attacks.greedy_explanation(
            model, images, own, explain=model.nearest, factors=torch.ones(10), threshold=0.5
        ),
    ]
    return model(images), built(images), found


def smoothed(device: torch.device) -> Any:
    """Its logits, an attack on them, and what its draws prove."""
    model, images, labels = given(device)
    noisy = defenses.RandomizedSmoothing(model, 0.2, samples=20)
    found = attacks.pgd(noisy.soft, images, labels, epsilon=0.5, steps=2, norm="l2")
    proof = noisy.certify(images, 20, 100, generator=draws())
    answers = noisy.predict(images, 100, generator=draws())
    return noisy(images), found, vars(proof), answers


def counted(device: torch.device) -> Tensor:
    return defenses.lower_confidence_bound(torch.arange(11).to(device), 10, 0.05)


def boxed(device: torch.device) -> Any:
    """The network of the zoo's, not trained: its answers matter, not how good they are."""
    images, labels = SEEDS[:3].to(device), torch.arange(3).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = interval_cnn().to(device)
    return (
        defenses.interval_bounds(model, images - 0.1, images + 0.1),
        defenses.interval_margins(model, images, labels, 0.1),
        defenses.certified(model, images, labels, 0.001),
        defenses.interval_loss(0.1)(model, images, labels),
        defenses.interval_schedule(0.1)(0.1)(model, images, labels),
    )


def tempered(device: torch.device) -> Any:
    model, images, labels = given(device)
    hot = defenses.TemperatureScaled(model, 40.0)
    return hot(images), attacks.fgsm(hot, images, labels, epsilon=0.1)


def softened(device: torch.device) -> Tensor:
    model, images, _ = given(device)
    return defenses.soft_labels(model(images), 10.0)


def attacked(device: torch.device, make: Any) -> Tensor:
    return make(*given(device))


def objective(device: torch.device, build: Callable[[torch.device], Objective]) -> Any:
    """A loss, and its gradient in the weights."""
    model, images, labels = given(device)
    loss = build(device)(model, images, labels)
    loss.backward()
    return loss, [weights.grad for weights in model.parameters()]


def distilled(device: torch.device) -> Objective:
    teacher, _, _ = given(device)
    return defenses.distilled_from(lambda _: teacher, 20.0)


def warmed_up(device: torch.device) -> Objective:
    return defenses.epsilon_warmup(defenses.fgsm_images, 0.3, share=0.5)(0.2)


def paired(device: torch.device) -> Objective:
    return defenses.robust_manifold_loss(
        cross_entropy, epsilon=30.0, decoder=moved(drawing(), device), pairs=2, steps=3, every=1
    )


def faces(device: torch.device) -> Objective:
    return gender_robust(moved(drawing(), device), epsilon=30.0, pairs=2, steps=2).objective(0.5)


def apart(device: torch.device) -> Tensor:
    model, images, _ = given(device)
    return defenses.divergence_apart(model, torch.stack([images, images.flip(3)], dim=1))


def trained(device: torch.device) -> Any:
    _model, images, labels = given(torch.device("cpu"))
    data = Dataset(images.repeat(3, 1, 1, 1), labels.repeat(3), "mnist", "train", "", Path())
    recipe = replace(recipes.RECIPES["s3-cnn-rand-fgsm"], epochs=1, batch_size=3)
    made, _ = fit(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), data, recipe,
                  device=device)  # fmt: skip
    return list(made.parameters())


def rebuilt(device: torch.device) -> Tensor:
    """By the zoo's generator."""
    data = Dataset(SEEDS[:2].to(device), torch.arange(2).to(device), "mnist", "train", "", Path())
    generator = load("defense-gan", device)
    short = replace(recipes.RECONSTRUCTION, restarts=2, steps=2)
    kept, recipes.RECONSTRUCTION = recipes.RECONSTRUCTION, short
    try:
        return recipes.reconstructed(2, data).images, generator.sample(2, draws())
    finally:
        recipes.RECONSTRUCTION = kept


def over(build: Callable[[torch.device], Objective]) -> Callable[..., Any]:
    return partial(objective, build=build)


CASES: dict[Callable[..., Any], tuple[str, ...]] = {
    by_synthesis: ("AnalysisBySynthesis", "PolishedSearch"),
    partial(searched, search=defenses.AdamSearch(steps=3)): ("AdamSearch",),
    partial(searched, search=defenses.LevenbergMarquardt(steps=4)): ("LevenbergMarquardt",),
    factors: ("fitted_factors",),
    binary: ("Binarized", "ClassWeighted"),
    image_prior: ("DeepImagePrior",),
    detected: ("Detected", "Divergence", "detection_rate", "threshold_at"),
    surprise: ("CrossNetworkNLL",),
    partial(published_detectors, name="density"): ("KernelDensity",),
    partial(published_detectors, name="components"): ("PrincipalComponents",),
    partial(published_detectors, name="trained"): ("TrainedDetector",),
    partial(published_detectors, name="squeezing"): ("FeatureSqueezing",),
    squeezed: ("BitDepth", "MedianFilter"),
    divergence: ("divergence",),
    jensen_shannon: ("JensenShannon", "jensen_shannon"),
    magnet: ("MagNet", "ReconstructionError"),
    partial(inverted, halving=0.0): ("LatentSearch",),
    partial(inverted, tolerance=0.09): ("invert",),
    on_the_way: ("inversion_path",),
    projected: ("LatentProjection", "Purified"),
    nearest_neighbor: ("NearestNeighbor",),
    smoothed: ("RandomizedSmoothing",),
    counted: ("lower_confidence_bound",),
    boxed: (
        "certified",
        "interval_bounds",
        "interval_loss",
        "interval_margins",
        "interval_schedule",
    ),
    tempered: ("TemperatureScaled",),
    softened: ("soft_labels",),
    apart: ("divergence_apart",),
    partial(attacked, make=defenses.ensemble_images(0.2, ["s3-cnn"] * 9)): ("ensemble_images",),
    partial(attacked, make=defenses.fgsm_images(0.2)): ("fgsm_images",),
    partial(attacked, make=defenses.fgsm_images(0.2, leak=False)): ("fgsm_images",),
    partial(attacked, make=defenses.pgd_images(0.2, 2)): ("pgd_images",),
    partial(attacked, make=defenses.rand_fgsm_images(0.2, 0.1)): ("rand_fgsm_images",),
    over(lambda _: defenses.at_temperature(20.0)): ("at_temperature",),
    over(distilled): ("distilled_from",),
    over(lambda _: defenses.adversarial_loss(defenses.fgsm_images(0.2))): ("adversarial_loss",),
    over(lambda _: defenses.trades(0.2, 2)): ("trades",),
    over(lambda _: defenses.gaussian_noise_loss(0.5)): ("gaussian_noise_loss",),
    over(warmed_up): ("epsilon_warmup",),
    over(paired): ("robust_manifold_loss",),
    over(faces): ("RECIPES",),
    trained: ("RECIPES",),
    rebuilt: ("RECIPES",),
}
"""Each with the public names that it is a case of."""
RESULTS = {"Explanation", "Inversion", "SmoothedCertificate"}
"""What defenses answer, no defense itself."""


def numbered(device: torch.device, number: int) -> Any:
    return list(CASES)[number](device)


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=["+".join(names) for names in CASES.values()]
)
def test_a_defense(number: int) -> None:
    same_on_both(numbered, number)


def test_every_public_defense_has_a_case() -> None:
    covered = {name for names in CASES.values() for name in names}
    assert covered - {"RECIPES"} | RESULTS == set(defenses.__all__) and not RESULTS & covered
