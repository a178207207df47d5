"""Where classes are linear the best explanations are known; so are scores, gradients, decisions."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from armsrace.defenses.analysis_by_synthesis.inference import (
    AdamSearch,
    projected_grad_norm,
    within,
)
from armsrace.defenses.analysis_by_synthesis.levenberg_marquardt import (
    LevenbergMarquardt,
    PolishedSearch,
)
from armsrace.defenses.analysis_by_synthesis.model import (
    SCALE,
    AnalysisBySynthesis,
    floored_softmax,
)
from tests.defenses.linear_classes import (
    CLASSES,
    LATENTS,
    PIXELS,
    CurvedClasses,
    LinearClasses,
    some_images,
)


@pytest.fixture
def exact() -> AnalysisBySynthesis:
    return AnalysisBySynthesis(LinearClasses(), inference="exact", samples=30)


def converged(generators: LinearClasses, radius: float = 5.0) -> AnalysisBySynthesis:
    search = LevenbergMarquardt(steps=40, starts=2, radius=radius)
    return AnalysisBySynthesis(generators, search=search, samples=40)


def test_exact_inference_finds_the_known_optimum(exact) -> None:
    images = some_images(6)
    found = exact.explain(images)
    latents, costs = LinearClasses().best(images)
    torch.testing.assert_close(found.latents, latents)
    torch.testing.assert_close(found.costs, costs)
    torch.testing.assert_close(exact(images), -SCALE / PIXELS * costs)
    drawn = LinearClasses().draw(latents).view(6, CLASSES, 1, 4, 4)
    torch.testing.assert_close(found.images, drawn)


def test_adam_comes_near_the_known_optimum() -> None:
    model = AnalysisBySynthesis(LinearClasses(), samples=200)
    _, costs = LinearClasses().best(some_images(6))
    found = model.costs(some_images(6))
    assert (found >= costs - 1e-12).all()
    torch.testing.assert_close(found, costs, rtol=0.01, atol=0)


def test_no_explanation_leaves_the_radius() -> None:
    adam, levenberg_marquardt = AdamSearch(radius=0.4), LevenbergMarquardt(radius=0.4)
    for search in (adam, levenberg_marquardt, PolishedSearch(adam, levenberg_marquardt)):
        model = AnalysisBySynthesis(LinearClasses(), search=search, samples=50)
        images = some_images(6)
        found = model.explain(images)
        assert (found.latents.norm(dim=2) <= 0.4 + 1e-9).all()
        assert ((found.latents.norm(dim=2) - 0.4).abs() < 1e-9).any()
        left = projected_grad_norm(model.generators, images.flatten(1), found.latents, radius=0.4)
        assert (left < (0.05 if isinstance(search, AdamSearch) else 1e-6)).all()


def test_latents_are_shortened_in_their_own_direction() -> None:
    latents = torch.tensor([[3.0, -4.0], [0.3, -0.4], [0.0, 0.0]])
    expected = torch.tensor([[0.6, -0.8], [0.3, -0.4], [0.0, 0.0]])
    torch.testing.assert_close(within(latents, 1.0), expected)


@pytest.mark.parametrize("model", [converged(CurvedClasses()), converged(LinearClasses(), 0.4)])
def test_the_envelope_gradient_is_that_of_finite_differences(model) -> None:
    images = some_images(3) * 0.8 + 0.1
    variable = images.clone().requires_grad_()
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(images.shape, generator=generator).double()
    direction /= direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for row in range(CLASSES):
        grad = torch.autograd.grad(model(variable)[:, row].sum(), variable)[0]
        assert grad.norm() > 1
        above, below = (model(images + step * direction)[:, row] for step in (1e-4, -1e-4))
        along = (grad * direction).flatten(1).sum(dim=1)
        torch.testing.assert_close(along, (above - below) / 2e-4, rtol=0.01, atol=1e-3)


def test_an_image_is_explained_by_itself_and_always_alike(exact) -> None:
    for model in (exact, AnalysisBySynthesis(LinearClasses(), samples=30, batch_size=3)):
        images = some_images(7)
        together = model(images)
        assert torch.equal(together, model(images))
        alone = torch.cat([model(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


class CountingClasses(CurvedClasses):
    """Curved classes that keep how many images each call to draw was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def draw(self, latents: Tensor) -> Tensor:
        self.counts.append(len(latents))
        return super().draw(latents)


def test_pairs_that_are_finished_are_not_drawn_and_do_not_change_what_others_find() -> None:
    generators = CountingClasses()
    search = LevenbergMarquardt(steps=200, starts=1)
    model = AnalysisBySynthesis(generators, search=search, samples=30)
    images = some_images(7)
    generators.counts.clear()
    together = model.infer(images)
    drawn = list(generators.counts)
    assert drawn[0] == 7 and drawn == sorted(drawn, reverse=True)
    assert drawn[-1] < 7 and sum(drawn) < 7 * 60
    left = projected_grad_norm(generators, images.flatten(1), together.latents)
    assert (left < 1e-5).all()
    for row, image in enumerate(images):
        torch.testing.assert_close(together.values[row], model.infer(image[None]).values[0])


def test_models_of_the_same_generators_share_their_samples(exact) -> None:
    other = AnalysisBySynthesis(
        exact.generators, search=LevenbergMarquardt(steps=40, starts=2), samples=exact.samples
    )
    assert other.samples is exact.samples
    torch.testing.assert_close(other(some_images(3)), exact(some_images(3)))


def test_no_trace_in_torchs_random_numbers() -> None:
    before = torch.get_rng_state()
    AnalysisBySynthesis(LinearClasses(), samples=10)(some_images(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_works_in_inference_mode_and_in_the_images_dtype(exact) -> None:
    with torch.inference_mode():
        images = some_images(2, torch.float32)
        assert exact(images).dtype == torch.float32
        torch.testing.assert_close(
            exact(images).double(), exact(images.double()), rtol=1e-5, atol=0
        )


def test_confidences_are_the_modified_softmax(exact) -> None:
    images = some_images(4)
    parts = exact(images).exp() + 3.9e-5
    torch.testing.assert_close(exact.confidences(images), parts / parts.sum(dim=1, keepdim=True))
    far = torch.tensor([[-100.0, -200.0, -300.0]])
    torch.testing.assert_close(floored_softmax(far), torch.full((1, 3), 1 / 3))
    torch.testing.assert_close(floored_softmax(far, 0.0), far.softmax(dim=1))


def test_samples_are_the_likely_ones_and_the_best_of_each_part_is_found(exact) -> None:
    samples = exact.samples
    assert samples.latents.shape == (30, LATENTS)
    assert samples.images.shape == (CLASSES, 30, PIXELS)
    assert not exact.state_dict().keys() & {"samples.images", "samples.latents"}
    pixels = some_images(5).flatten(1)
    errors = (pixels[:, None, None] - samples.images).square().sum(dim=3)
    costs = errors + samples.latents.square().sum(dim=1) / 2
    best = samples.best(pixels, parts=4)
    for part in range(4):
        expected = costs[..., part::4].argmin(dim=2) * 4 + part
        assert torch.equal(best[:, part], samples.latents[expected])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"inference": "sgd"}, "inference must be one of adam, exact, got 'sgd'"),
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"scale": 0.0}, "scale must be >= 1e-09, got 0"),
        ({"floor": -1.0}, "floor must be >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(options, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        AnalysisBySynthesis(LinearClasses(), **options)
    with pytest.raises(TypeError, match=re.escape("samples must be an integer, got 2.5")):
        AnalysisBySynthesis(LinearClasses(), samples=2.5)


def test_bad_images_and_searches_are_named(exact) -> None:
    with pytest.raises(ValueError, match=re.escape("images must have 16 pixels, got (1, 3, 4)")):
        exact(torch.rand(2, 1, 3, 4))
    with pytest.raises(ValueError, match=re.escape("images must lie in [0.0, 1.0]")):
        exact(some_images(2) + 1)
    with pytest.raises(ValueError, match="parts must be <= 30 samples, got 31"):
        exact.samples.best(some_images(1).flatten(1), 31)
    for search, options, rule in (
        (AdamSearch, {"steps": 0}, "steps must be >= 1, got 0"),
        (AdamSearch, {"rate": 0.0}, "rate must be >= 1e-09, got 0"),
        (AdamSearch, {"radius": 0.0}, "radius must be >= 1e-09, got 0"),
        (LevenbergMarquardt, {"starts": 0}, "starts must be >= 1, got 0"),
        (LevenbergMarquardt, {"screening": 2.0}, "screening must lie in [0, 1], got 2"),
        (LevenbergMarquardt, {"damping": 0.0}, "damping must be >= 1e-09, got 0"),
        (PolishedSearch, {"adam": AdamSearch(radius=1)}, "polish.radius must be adam's 1, got 5"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            search(**options)


def test_exact_inference_is_no_worse_than_adam_where_classes_are_curved() -> None:
    images = some_images(20)
    adam = AnalysisBySynthesis(CurvedClasses(), samples=200).costs(images)
    model = AnalysisBySynthesis(CurvedClasses(), inference="exact", samples=200)
    found = model.infer(images)
    assert (found.values <= adam + 1e-9).all()
    left = projected_grad_norm(model.generators, images.flatten(1), found.latents)
    assert (left < 1e-6).float().mean() >= 0.95


def test_inference_is_refused_where_a_search_would_replace_it() -> None:
    for inference in ("adam", "exact"):
        with pytest.raises(ValueError, match=f"inference must be None with a search.*{inference}"):
            AnalysisBySynthesis(
                LinearClasses(), inference=inference, search=AdamSearch(), samples=10
            )
    assert isinstance(AnalysisBySynthesis(LinearClasses(), samples=10).search, AdamSearch)


def test_the_old_name_of_infer_works_and_warns(exact) -> None:
    images = some_images(2)
    with pytest.warns(DeprecationWarning, match="found is now infer"):
        found = exact.found(images)
    assert torch.equal(found.latents, exact.infer(images).latents)


def test_one_start_takes_all_its_steps_from_the_best_sample() -> None:
    searches = [LevenbergMarquardt(steps=6, starts=1, screening=share) for share in (0.0, 0.5, 1.0)]
    results = [
        AnalysisBySynthesis(CurvedClasses(), search=search, samples=30).infer(some_images(3))
        for search in searches
    ]
    for other in results[1:]:
        assert torch.equal(other.latents, results[0].latents)
