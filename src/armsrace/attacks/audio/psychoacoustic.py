"""Imperceptible audio attack: a sound that says another word to the model and the same to an ear.

Qin, Carlini, Cottrell, Goodfellow and Raffel 2019, §4. The change is hidden under the masking
threshold: what an ear does not hear beside a louder sound, for each moment and pitch. That is
psychoacoustic model 1 of MPEG-1 (ISO/IEC 11172-3 1993, Annex D), as Qin et al. simplify it: every
masker counts as a tone. It lowers the threshold, since noise masks more than a tone of equal
level, so the model errs on the side of hearing too much.

Sounds are images one pixel high, (N, 1, 1, T). Levels are in dB, frequencies in Hz, pitch in Bark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context, checked_grad
from armsrace.attacks.gradient.pgd import ascend
from armsrace.contracts import AttackResult, Bounds, Model, check_at_least, check_count
from armsrace.losses import cross_entropy
from armsrace.norms import batch_view

WAVES = Bounds(-1.0, 1.0)  # the box of valid samples
LOUDEST = 96.0  # dB of the loudest cell of a sound: how loud a listener plays it is not known
FAINTEST = -60.0  # dB at which levels are cut off, where a logarithm would diverge


def imperceptible(
    model: Model,
    waves: Tensor,
    labels: Tensor,
    *,
    targets: Tensor,
    epsilon: float = 0.03,
    first_steps: int = 50,
    steps: int = 300,
    step_size: float = 2e-3,
    weight: float = 1.0,
    hearing: Hearing | None = None,
) -> AttackResult:
    """A targeted sound whose change an ear should not hear beside the original.

    The first stage makes the sound say the target, within epsilon. The second descends

        ℓ(x, δ, t) = ℓ_net(f(x + δ), t) + α · ℓ_θ(x, δ)

    where ℓ_net is −log p(t) and ℓ_θ the mean over the cells of the dB above the masking threshold.
    Every 20 steps α grows by a fifth for a sound that is adversarial; every 50 it shrinks by a
    fifth for one that is not.

    Args:
        model: sounds to logits (N, K).
        waves: (N, 1, 1, T), samples in [-1, 1].
        labels: (N,) int64, the words said.
        targets: (N,) int64, the words wanted.
        epsilon: the largest change of a sample in the first stage.
        first_steps: signed gradient steps of that stage, of 2.5 · epsilon / first_steps each.
        steps: Adam steps of the second stage.
        step_size: of Adam's first step, in sample units; it falls linearly to zero.
        weight: the first α, in nats of ℓ_net per dB.
        hearing: the ear; one for 8,000 samples per second by default.

    Returns:
        Of the adversarial sounds of the second stage, the least audible, per sound. The original
        where none was adversarial, and where the model hears the target already.

    Differences from the paper:
        * The paper shrinks epsilon in the first stage; here that is left to the second.
        * The authors' code compares powers with the threshold, where the paper's equations and we
          compare their logarithms.

    Cost:
        first_steps + steps + 2 forward passes and first_steps + steps backward passes per sound.

    References:
        Qin, Carlini, Cottrell, Goodfellow and Raffel 2019, "Imperceptible, robust, and targeted
        adversarial examples for automatic speech recognition", §4.
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("first_steps", first_steps)
    check_count("steps", steps)
    check_at_least("step_size", step_size, 0)
    check_at_least("weight", weight, 0)
    hearing = hearing or Hearing()
    with attack_context(model, waves, labels, targets, WAVES, epsilon) as context:
        clean = context.images
        start = ascend(
            context, clean, first_steps, 2.5 * epsilon / first_steps, "linf", cross_entropy
        )
        threshold = hearing.threshold(clean)
        delta = (start - clean).requires_grad_()
        adam = torch.optim.Adam([delta], lr=step_size)
        alpha = torch.full_like(clean[:, 0, 0, 0], weight)
        _, is_adversarial = context.loss(clean)
        best_adv = clean.clone()
        best_audible = torch.where(is_adversarial, 0.0, torch.inf).to(alpha.dtype)
        for step in range(1, steps + 1):
            with torch.enable_grad():
                x_adv = WAVES.clip(clean + delta)
                logits = context.logits(x_adv)
                loss_net = -context.adversarial_loss(logits, cross_entropy)
                loss_theta = audible(hearing, delta, clean, threshold)
                loss = loss_net + alpha * loss_theta
                delta.grad = checked_grad(loss.sum(), delta)
            with torch.no_grad():
                is_adversarial = context.is_adversarial(logits)
                better = is_adversarial & (loss_theta < best_audible)
                best_adv = torch.where(batch_view(better), x_adv, best_adv)
                best_audible = torch.where(better, loss_theta, best_audible)
                if step % 20 == 0:
                    alpha = torch.where(is_adversarial, 1.2 * alpha, alpha)
                if step % 50 == 0:
                    alpha = torch.where(is_adversarial, alpha, 0.8 * alpha)
                adam.param_groups[0]["lr"] = step_size * (1 - (step - 1) / steps)
                adam.step()
        passes = torch.full_like(labels, first_steps + steps)
        return context.minimal_result(best_adv, passes + 1, passes)


def audible(hearing: Hearing, change: Tensor, beside: Tensor, threshold: Tensor) -> Tensor:
    """ℓ_θ (N,): the mean dB by which the cells of a change (N, 1, 1, T) exceed the threshold."""
    excess = hearing.levels(change, beside) - threshold
    return excess.clamp_min(0).flatten(1).mean(1)


@dataclass(frozen=True)
class Hearing:
    """A model of the ear, which resolves a sound into overlapping windows and their frequencies.

    A cell is one frequency of one window: F = window // 2 + 1 frequencies, S windows.

    Args:
        rate: samples per second.
        window: samples per window.
        hop: samples from the start of one window to the next.
    """

    rate: int = 8000
    window: int = 512
    hop: int = 128

    def __post_init__(self) -> None:
        check_count("rate", self.rate)
        check_count("window", self.window, 4)
        check_count("hop", self.hop)

    @property
    def hertz(self) -> Tensor:
        """The frequencies (F,) of the cells, in Hz."""
        return torch.linspace(0, self.rate / 2, self.window // 2 + 1, dtype=torch.float64)

    def power(self, waves: Tensor) -> Tensor:
        """The squared short-time Fourier transform (N, F, S): Hann window, padded with zeros."""
        spectrum = torch.stft(
            waves.flatten(1), self.window, self.hop, return_complex=True, pad_mode="constant",
            window=torch.hann_window(self.window, dtype=waves.dtype, device=waves.device),
        )  # fmt: skip
        return spectrum.real.square() + spectrum.imag.square()

    def levels(self, waves: Tensor, beside: Tensor) -> Tensor:
        """Levels in dB (N, F, S) of waves, on the scale of the sound `beside` them.

        Both (N, 1, 1, T). The loudest cell of `beside` is at 96 dB.
        """
        loudest = self.power(beside).flatten(1).amax(1).view(-1, 1, 1)
        relative = self.power(waves) / loudest.clamp_min(torch.finfo(waves.dtype).tiny)
        return LOUDEST + 10 * relative.clamp_min(10 ** ((FAINTEST - LOUDEST) / 10)).log10()

    @torch.no_grad()
    def threshold(self, waves: Tensor) -> Tensor:
        """The level in dB (N, F, S) below which an added sound is masked by the waves."""
        levels = self.levels(waves, waves).movedim(1, 2).double()
        # Eight sounds at a time, to save memory: every cell may mask every other of its window.
        parts = [self._masking_threshold(part) for part in levels.split(8)]
        return torch.cat(parts).movedim(1, 2).to(waves.dtype)

    def _masking_threshold(self, levels: Tensor) -> Tensor:
        """Levels (N, S, F) to thresholds (N, S, F): silence's, plus what each masker spreads."""
        hertz = self.hertz.to(levels.device)
        pitch, quiet = bark(hertz), absolute_threshold(hertz)
        masker_levels = maskers(levels, pitch, quiet)
        # Only a few cells of a window are maskers; the others would add nothing to the sums.
        count = max(1, int((masker_levels > -torch.inf).sum(2).max()))
        level, index = masker_levels.topk(count, dim=2)
        masker_pitch, level = pitch[index][..., None], level[..., None]
        spread = level - 6.025 - 0.275 * masker_pitch + spreading(pitch - masker_pitch, level)
        powers = 10 ** (quiet / 10) + (10 ** (spread / 10)).sum(2)
        return 10 * powers.log10()


def absolute_threshold(hertz: Tensor) -> Tensor:
    """The faintest audible tone in silence, in dB (Terhardt 1979); 20 Hz and up."""
    kilo = hertz.clamp_min(20) / 1000
    return 3.64 * kilo**-0.8 - 6.5 * (-0.6 * (kilo - 3.3) ** 2).exp() + 1e-3 * kilo**4


def bark(hertz: Tensor) -> Tensor:
    """Pitch: frequency as the ear spaces it, in critical bands from the lowest (Zwicker)."""
    return 13 * (7.6e-4 * hertz).atan() + 3.5 * ((hertz / 7500) ** 2).atan()


def spreading(away: Tensor, level: Tensor) -> Tensor:
    """How much less, in dB, a masker of `level` dB masks `away` Bark above it (below: negative).

    27 dB less per Bark downward; upward less steeply, the louder it is (Qin et al., appendix).
    """
    return torch.where(away <= 0, 27 * away, (-27 + 0.37 * (level - 40).clamp_min(0)) * away)


def maskers(levels: Tensor, pitch: Tensor, quiet: Tensor) -> Tensor:
    """The level of each masker, with its two neighbors' power, and -inf where there is none.

    levels (N, S, F) in dB, pitch (F,) in Bark, quiet (F,) in dB. A masker is a local peak that is
    audible alone, and the loudest such peak within half a Bark.
    """
    floor = torch.full_like(levels[..., :1], FAINTEST)
    below = torch.cat([floor, levels[..., :-1]], dim=2)
    above = torch.cat([levels[..., 1:], floor], dim=2)
    peak = (levels > below) & (levels >= above) & (levels > quiet)
    candidates = levels.where(peak, -torch.inf)
    near = (pitch[:, None] - pitch).abs() < 0.5
    rivals = candidates[..., None, :].where(near, -torch.inf).amax(3)
    joined = 10 * (10 ** (torch.stack([below, levels, above]) / 10)).sum(0).log10()
    return joined.where(peak & (candidates >= rivals), -torch.inf)
