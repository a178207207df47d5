"""What an ear does not hear beside a louder sound: a masking threshold for each moment and pitch.

Psychoacoustic model 1 of MPEG-1 (ISO/IEC 11172-3 1993, Annex D), as Qin et al. 2019 simplify it:
every masker counts as a tone. That lowers the threshold, since noise masks more than a tone as
loud, so the model errs towards hearing too much. Sounds are images one pixel high, (N, 1, 1, T);
levels are in dB, frequencies in Hz, and pitch in Bark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.contracts import check_count

LOUDEST = 96.0
"""dB that the loudest cell of a sound is played at; how loud a listener plays it is not known."""
FAINTEST = -60.0
"""dB below which levels are cut off, where a logarithm would run away."""


@dataclass(frozen=True)
class Hearing:
    """An ear that resolves `rate` samples a second into windows of `window`, every `hop` samples.

    Raises ValueError or TypeError naming the argument and the rule it breaks.
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
        """The frequencies (F,) of the cells, F = window // 2 + 1."""
        return torch.linspace(0, self.rate / 2, self.window // 2 + 1, dtype=torch.float64)

    def power(self, waves: Tensor) -> Tensor:
        """The squared short-time Fourier transform (N, F, S): Hann window, silence around."""
        spectrum = torch.stft(
            waves.flatten(1), self.window, self.hop, return_complex=True, pad_mode="constant",
            window=torch.hann_window(self.window, dtype=waves.dtype, device=waves.device),
        )  # fmt: skip
        return spectrum.real.square() + spectrum.imag.square()

    def levels(self, waves: Tensor, beside: Tensor) -> Tensor:
        """Levels in dB (N, F, S) of waves, played as loud as the sound `beside` them.

        Both (N, 1, 1, T). The loudest cell of `beside` is at 96 dB.
        """
        loudest = self.power(beside).flatten(1).amax(1).view(-1, 1, 1)
        relative = self.power(waves) / loudest.clamp_min(torch.finfo(waves.dtype).tiny)
        return LOUDEST + 10 * relative.clamp_min(10 ** ((FAINTEST - LOUDEST) / 10)).log10()

    @torch.no_grad()
    def threshold(self, waves: Tensor) -> Tensor:
        """The level in dB (N, F, S) below which an added sound is masked by the waves."""
        levels = self.levels(waves, waves).movedim(1, 2).double()
        # Eight sounds at a time: every cell may mask every other of its moment.
        parts = [self._masked(part) for part in levels.split(8)]
        return torch.cat(parts).movedim(1, 2).to(waves.dtype)

    def _masked(self, levels: Tensor) -> Tensor:
        """Levels (N, S, F) to thresholds (N, S, F)."""
        hertz = self.hertz.to(levels.device)
        pitch, quiet = bark(hertz), absolute_threshold(hertz)
        strength = maskers(levels, pitch, quiet)
        # Only a few cells of a moment mask; the others would add nothing to the sums.
        count = max(1, int((strength > -torch.inf).sum(2).max()))
        level, place = strength.topk(count, dim=2)
        spread = level[..., None] - 6.025 - 0.275 * pitch[place][..., None]
        spread = spread + spreading(pitch - pitch[place][..., None], level[..., None])
        powers = 10 ** (quiet / 10) + (10 ** (spread / 10)).sum(2)
        return 10 * powers.log10()


def absolute_threshold(hertz: Tensor) -> Tensor:
    """The faintest audible tone in silence, in dB (Terhardt 1979); 20 Hz and up."""
    kilo = hertz.clamp_min(20) / 1000
    return 3.64 * kilo**-0.8 - 6.5 * (-0.6 * (kilo - 3.3) ** 2).exp() + 1e-3 * kilo**4


def bark(hertz: Tensor) -> Tensor:
    """Frequency as the ear spaces it: critical bands from the bottom (Zwicker)."""
    return 13 * (7.6e-4 * hertz).atan() + 3.5 * ((hertz / 7500) ** 2).atan()


def spreading(away: Tensor, level: Tensor) -> Tensor:
    """How much less a masker of `level` dB masks `away` Bark above it (below: negative), in dB.

    27 dB less a Bark downwards; upwards the less the louder it is (Qin et al., appendix).
    """
    return torch.where(away <= 0, 27 * away, (-27 + 0.37 * (level - 40).clamp_min(0)) * away)


def maskers(levels: Tensor, pitch: Tensor, quiet: Tensor) -> Tensor:
    """The level of each masker, with its two neighbours' power, and -inf where there is none.

    levels (N, S, F) dB, pitch (F,) Bark, quiet (F,) dB. A masker is a local peak that could be
    heard alone, and the loudest such within half a Bark.
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
