"""Proofs for linear synthesis: exact where the distance is known, sound, refused if tampered."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from typer.testing import CliRunner

from armsrace import attacks, cli, datasets, evaluation, zoo
from armsrace.defenses.analysis_by_synthesis import certificate, check_certificate
from armsrace.defenses.analysis_by_synthesis.free_radius import (
    Pairs,
    Products,
    free_radius,
    own_pieces,
    radius_loss,
    rival_pieces,
)
from armsrace.models.linear_synthesis import LinearSynthesis
from armsrace.norms import distances


def small(seed: int, classes: int = 3, pieces: int = 2, latents: int = 2, pixels: int = 6):
    """A model with random weights that float16 holds."""
    draws = torch.Generator().manual_seed(seed)
    count = classes * pieces
    means = torch.rand(count, pixels, generator=draws)
    factors = torch.randn(count, pixels, latents, generator=draws) / math.sqrt(pixels)
    offsets = 0.1 * torch.randn(count, generator=draws)
    model = LinearSynthesis.of(means, factors, offsets, classes=classes)
    model.project(0.9)
    for part in model.parameters():
        part.data = part.data.half().float()
    return model.requires_grad_(False)


def points(seed: int, count: int, pixels: int = 6) -> Tensor:
    """Images (N, 1, 1, P) of whole 255ths."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 1, pixels), generator=draws) / 255


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load("mnist").take(6)


@pytest.fixture(scope="module")
def model() -> LinearSynthesis:
    loaded = zoo.load("linear-synthesis")
    assert isinstance(loaded, LinearSynthesis)
    return loaded.requires_grad_(False)


@pytest.fixture(scope="module")
def proved(model, digits):
    return evaluation.certify(model, digits.images)


def rows(found, norm="l2"):
    """The arguments of `proves`, image by image."""
    for image, label, radius, duals in zip(
        found.images, found.labels, found.radii, found.duals, strict=True
    ):
        yield [image.double().flatten().numpy(), int(label), float(radius), duals.numpy(), norm]


def test_the_cost_is_the_least_over_the_latents() -> None:
    """q(x) = min_u ‖x − m − Wu‖² + ½‖u‖² for the W that B comes from, by least squares."""
    model, images = small(0), points(1, 5)
    costs = model.double().costs(images.double())
    for piece, factor in enumerate(model.factors):
        # B = W (½ I + WᵀW)^(−½) is inverted by W = B (½ (I − BᵀB)⁻¹)^(½).
        values, vectors = torch.linalg.eigh(factor.T @ factor)
        loading = factor @ (vectors * (0.5 / (1 - values)).sqrt()) @ vectors.T
        gap = images.double().flatten(1) - model.means[piece]
        stacked = torch.cat([loading, math.sqrt(0.5) * torch.eye(2).double()])
        wanted = torch.cat([gap, gap.new_zeros(5, 2)], dim=1).T
        latents = torch.linalg.lstsq(stacked, wanted).solution
        least = (wanted - stacked @ latents).square().sum(0) + model.offsets[piece]
        torch.testing.assert_close(costs[:, piece], least)
        explained = model.means[piece] + (loading @ latents).T
        torch.testing.assert_close(model.explanations(images.double())[:, piece], explained)


def test_without_latents_the_free_radius_is_the_distance_to_a_hyperplane() -> None:
    """Prototypes: (‖x − m_k‖² − ‖x − m_h‖²) / (2 ‖m_h − m_k‖), as Voráček and Hein have it."""
    model = small(3, latents=1)
    model.factors.data.zero_()
    images = points(4, 20).flatten(1)
    costs, along = model.costs(images), model.coordinates(images)
    labels = costs.view(20, 3, 2).amin(2).argmin(1)
    own, rivals = own_pieces(model, costs, labels), rival_pieces(model, labels)
    squared, _ = free_radius(Pairs.of(costs, along, Products.of(model), own, rivals))
    apart = (model.means[own][:, None] - model.means[rivals]).norm(dim=2)
    plane = (costs.gather(1, rivals) - costs.gather(1, own[:, None])) / (2 * apart)
    # s may not exceed 1: beyond it the quadratic of a prototype pair is still linear.
    exact = plane.square()
    reachable = plane / apart <= 1
    torch.testing.assert_close(squared[reachable], exact[reachable], rtol=1e-4, atol=1e-5)
    assert (squared <= exact * (1 + 1e-4) + 1e-5).all()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_free_radius_is_the_least_squared_length(seed: int) -> None:
    """No point nearer is read as the rival, and the dual's own point is: primal equals dual."""
    model = small(seed).double()
    image = points(seed + 1, 1).double().flatten(1)
    costs, along = model.costs(image), model.coordinates(image)
    labels = costs.view(1, 3, 2).amin(2).argmin(1)
    own, rivals = own_pieces(model, costs, labels), rival_pieces(model, labels)
    squared, s = free_radius(Pairs.of(costs, along, Products.of(model), own, rivals))
    held = model.factors[own[0]]
    for rival, value, dual in zip(rivals[0], squared[0], s[0], strict=True):
        other = model.factors[rival]
        hessian = held @ held.T - other @ other.T
        explained = model.explanations(image)[0]
        gradient = explained[own[0]] - explained[rival]
        inner = torch.eye(6).double() + dual * hessian
        point = -dual * torch.linalg.solve(inner, gradient)
        if dual < 1 - 1e-6:  # The constraint is met with equality, so this is the nearest point.
            at = model.costs(image + point)[0]
            assert float(at[rival] - at[own[0]]) == pytest.approx(0, abs=1e-6)
            assert float(point.square().sum()) == pytest.approx(float(value), rel=1e-5, abs=1e-7)
        draws = torch.Generator().manual_seed(seed)
        directions = torch.nn.functional.normalize(
            torch.randn(500, 6, generator=draws).double(), dim=1
        )
        inside = image + directions * value.clamp_min(0).sqrt() * 0.999
        at = model.costs(inside)
        assert (at[:, rival] > at[:, own[0]]).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_no_point_inside_the_radius_and_the_box_is_misread(norm, seed: int) -> None:
    model, images = small(seed), points(seed + 1, 2)
    found = evaluation.certify(model, images, norm=norm)
    exact = certificate.checker(model)
    draws = torch.Generator().manual_seed(seed)
    for row, image in zip(rows(found, norm), images, strict=True):
        if row[2] == 0:
            continue
        assert exact.proves(*row)
        moves = torch.rand(3000, 6, generator=draws).double() * 2 - 1
        sizes = distances(moves.view(-1, 1, 1, 6), norm)
        moves *= (row[2] * (0.999 - 0.2 * torch.rand(3000, generator=draws)) / sizes)[:, None]
        inside = (image.double().flatten() + moves).clamp(0, 1)
        assert (model.double()(inside.view(-1, 1, 1, 6)).argmax(1) == row[1]).all()
        model.float()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_with_two_pixels_the_radius_is_nearly_the_grid_s(norm) -> None:
    """Two pixels can be searched whole: the proof is below the true distance, and near it."""
    shares = []
    for seed in range(4):
        model = small(seed, pixels=2, latents=1)
        images = points(seed, 3, pixels=2)
        found = evaluation.certify(model, images, norm=norm)
        axis = torch.linspace(0, 1, 401).double()
        grid = torch.cartesian_prod(axis, axis)
        read = model.double()(grid.view(-1, 1, 1, 2)).argmax(1)
        model.float()
        for image, label, radius in zip(images, found.labels, found.radii, strict=True):
            moves = grid - image.double().flatten()
            sizes = moves.abs().amax(1) if norm == "linf" else moves.norm(dim=1)
            other = sizes[read != label]
            if len(other):
                assert radius <= other.min() + 1e-9
                shares.append(float(radius / other.min()))
    assert len(shares) > 4 and np.median(shares) > (0.97 if norm == "l2" else 0.8)


def test_more_held_pieces_never_prove_less(model, digits) -> None:
    one = evaluation.certify(model, digits.images[:4], pieces=1).radii
    three = evaluation.certify(model, digits.images[:4], pieces=3).radii
    assert (three >= one * (1 - 1e-6)).all() and (three > one * 1.0001).any()


def test_digits_are_certified_whatever_the_batch(model, digits, proved) -> None:
    torch.testing.assert_close(
        evaluation.certify(model, digits.images, batch_size=4).radii, proved.radii,
        rtol=1e-6, atol=1e-9,
    )  # fmt: skip
    right = proved.labels == digits.labels
    assert right.double().mean() > 0.9 and proved.radii[right].median() > 1.5
    assert torch.equal(proved.labels, model(digits.images).argmax(1))


def test_the_exact_checker_accepts_every_proof(model, proved) -> None:
    exact = certificate.checker(model)
    assert all(exact.proves(*row) for row in rows(proved))


def test_a_thousand_tampered_certificates_are_refused(model, proved, tmp_path) -> None:
    """Signed anew: a raised radius has no proof. Signed as before: nothing may be touched."""
    exact = certificate.checker(model)
    more = 1e-9, 1e-8, 1e-6, 1e-3, 0.1, 1
    for row, raised in zip(itertools.islice(rows(proved), 6), more, strict=True):
        row[2] *= 1 + raised
        assert not exact.proves(*row)
    path, weights = tmp_path / "certificates.npz", zoo.weights("linear-synthesis")
    proved.save(path, weights)
    with np.load(path) as file:
        stored = dict(file)
    draws = np.random.default_rng(0)
    keys = ("images", "labels", "radii", "duals", "digests")
    order = np.arange(1000) % len(stored["labels"])
    many = {key: stored[key][order].copy() for key in keys} | {"norm": stored["norm"]}
    for attempt in range(1000):
        if attempt % 3 == 0:
            pixel = draws.integers(784)
            many["images"][attempt, pixel] = (draws.integers(1, 255) + 0.5) / 256
        elif attempt % 3 == 1:
            many["radii"][attempt] *= 1 + 10.0 ** draws.uniform(-9, 0)
        else:
            place = tuple(draws.integers(size) for size in stored["duals"].shape[1:])
            many["duals"][(attempt, *place)] += 2.0**-30
    np.savez(path, **many)
    assert check_certificate.check_file(str(weights), str(path)) == [False] * 1000


def test_moved_dual_points_prove_nothing(model, proved) -> None:
    exact = certificate.checker(model)
    for image, label, radius, duals, norm in itertools.islice(rows(proved), 3):
        moved = np.floor(0.5 * duals * 2**30) / 2**30
        assert not exact.proves(image, label, radius, moved, norm)


@pytest.mark.parametrize(
    "change",
    [
        {"duals": -1.0}, {"duals": 2.0}, {"duals": math.nan}, {"radius": math.nan},
        {"radius": math.inf}, {"radius": -1.0}, {"image": 1.5}, {"image": math.nan}, {"label": 10},
        {"label": -1}, {"norm": "l1"},
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused(change, model, proved) -> None:
    row = dict(zip(("image", "label", "radius", "duals", "norm"), next(rows(proved)), strict=True))
    ((name, value),) = change.items()
    if name in ("duals", "image"):
        row[name] = row[name].copy()
        row[name].flat[0] = value
    else:
        row[name] = value
    assert not certificate.checker(model).proves(*row.values())


def test_factors_above_norm_one_are_refused_exactly() -> None:
    one = np.array([[2**24], [0]], dtype=object)
    assert not check_certificate.below_one(one)
    assert check_certificate.below_one(one - np.array([[1], [0]], dtype=object))
    model = small(0)
    model.factors.data[0] *= 4
    with pytest.raises(ValueError, match="norm below 1"):
        certificate.checker(model)


def test_the_bound_is_what_fractions_say() -> None:
    """The integers of `bound` against F and its gradient written out in fractions."""
    model, image = small(5, pixels=3), points(6, 1, pixels=3)
    exact = certificate.checker(model)
    bits = check_certificate.PIXEL
    x = check_certificate.whole(image.double().flatten().numpy(), bits)
    low, high = -x, (1 << bits) - x
    point = check_certificate.whole(np.array([0.0, 0.125, -0.0]), bits)
    point = np.clip(point, low, high)
    weight = Fraction(3, 8)
    found = exact.bound(x, 2, [(0, 3 << 27)], point, low, high)

    def cost(piece: int, at: list[Fraction]) -> Fraction:
        away = [a - Fraction(float(m)) for a, m in zip(at, model.means[piece], strict=True)]
        along = [
            sum(Fraction(float(b)) * v for b, v in zip(column, away, strict=True))
            for column in model.factors[piece].T
        ]
        return (
            sum(v * v for v in away) - sum(v * v for v in along)
            + Fraction(float(model.offsets[piece]))
        )  # fmt: skip

    def value(delta: list[Fraction]) -> Fraction:
        at = [Fraction(int(a), 1 << bits) + d for a, d in zip(x, delta, strict=True)]
        gap = cost(2, at) - Fraction(1, 1 << 20) - cost(0, at)
        return sum((d * d for d in delta), Fraction(0)) + weight * gap

    start = [Fraction(int(p), 1 << bits) for p in point]
    step = Fraction(1, 2)
    total = value(start)
    for i in range(3):  # The central difference of a quadratic is its derivative.
        ahead, behind = list(start), list(start)
        ahead[i] += step
        behind[i] -= step
        slope = value(ahead) - value(behind)
        ends = [slope * (Fraction(int(end), 1 << bits) - start[i]) for end in (low[i], high[i])]
        total += min(ends)
    assert found == total


def test_no_attack_lands_inside_a_certified_radius(model, digits, proved) -> None:
    right = proved.labels == digits.labels
    for attack in (attacks.ddn, attacks.deepfool):
        found = attack(model, digits.images, digits.labels)
        sizes = evaluation.perturbation_sizes(digits.images, found, "l2")
        assert (sizes[right] >= proved.radii[right]).all()
        assert found.success[right].any()


def test_training_raises_the_radius_and_projects() -> None:
    digits = datasets.load("mnist").take(100)
    torch.manual_seed(0)
    model = LinearSynthesis(pieces=1, latents=2)
    with pytest.raises(ValueError, match="labels must have 1 images of class 0"):
        model.start(digits.images[:5], torch.full((5,), 3))
    alike = LinearSynthesis(pieces=2, latents=2)
    alike.start(torch.ones(20, 1, 28, 28), torch.arange(20) % 10)
    assert all(part.isfinite().all() for part in alike.parameters()), "of an empty cluster, too"
    model.start(digits.images, digits.labels, rounds=2)
    model.factors.data *= 3
    loss, optimizer = radius_loss(2.0), torch.optim.Adam(model.parameters(), 0.01)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        found = loss(model, digits.images, digits.labels)
        found.backward()
        optimizer.step()
        values.append(found.item())
    assert values[-1] < values[0]
    model.project()
    assert torch.linalg.matrix_norm(model.factors, 2).max() <= 0.9701


def test_the_command_certifies_and_another_process_verifies(digits, tmp_path) -> None:
    images, path = tmp_path / "digits.npy", tmp_path / "certificates.npz"
    np.save(images, (digits.images[:3] * 255).round().byte().numpy())
    run = CliRunner().invoke
    done = run(cli.app, ["certify", str(images), str(path)])
    assert done.exit_code == 0 and "3 images" in done.output
    good = run(cli.app, ["verify", str(path)])
    assert good.exit_code == 0 and "3 of 3 certificates hold" in good.output
    with np.load(path) as file:
        stored = dict(file)
    stored["radii"] = stored["radii"] * (1 + 1e-9)
    np.savez_compressed(path, **stored)
    bad = run(cli.app, ["verify", str(path)])
    assert bad.exit_code == 1 and "0 of 3 certificates hold" in bad.output


def test_the_checker_imports_nothing_of_ours() -> None:
    code = (
        f"import runpy, sys; runpy.run_path({check_certificate.__file__!r}); "
        "print(any(name.partition('.')[0] in ('armsrace', 'torch') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_bad_input_is_named(model, digits) -> None:
    with pytest.raises(TypeError, match="model must be a LinearSynthesis"):
        evaluation.certify(torch.nn.Identity(), digits.images)
    with pytest.raises(ValueError, match="images must be multiples"):
        evaluation.certify(model, digits.images.double() * 0.1)
    with pytest.raises(ValueError, match="norm"):
        evaluation.certify(model, digits.images, norm="l1")
    finer = small(0, pixels=784)
    finer.means.data += 1e-9
    with pytest.raises(ValueError, match="weights that are multiples"):
        evaluation.certify(finer.double(), digits.images)


@pytest.mark.parametrize("classes", [0, 1, 4, 7])
def test_classes_that_do_not_fit_are_refused(classes: int) -> None:
    parts = [part.double().numpy() for part in certificate._parts(small(0))]
    with pytest.raises(ValueError, match="classes must be 2 or more"):
        check_certificate.Checker(*parts, classes=classes)
    with pytest.raises(ValueError, match="must fit"):
        check_certificate.Checker(parts[0], parts[1], parts[2][:2], classes=3)


def test_the_checker_rounds_nothing_that_it_is_given(model, proved) -> None:
    """Wider numbers would be rounded to another image, whose proof it is not."""
    image, label, radius, duals, norm = next(rows(proved))
    exact = certificate.checker(model)
    assert not exact.proves(image.astype(np.longdouble), label, radius, duals, norm)
    assert not exact.proves(image + 0j, label, radius, duals, norm)
    assert not exact.proves(image, float(label), radius, duals, norm)
