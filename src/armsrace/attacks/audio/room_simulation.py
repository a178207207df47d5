"""What a room does to a sound, simulated: impulse responses by the image-source method.

Qin et al. 2019, §5, make sounds that survive rooms by averaging over simulated ones (EOT). So do
we: `eot(InRooms(model, responses), samples)` is a model for any attack.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from armsrace.contracts import Model, check_count
from armsrace.randomness import default_generator

SPEED = 343.0  # of sound, meters per second
ORDER = 5  # image sources up to so many rooms away on each side: all echoes of the first 60 ms
_AXES = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


class InRooms(nn.Module):
    """A model that hears each sound through a room drawn again for it at each call.

    Args:
        model: sounds (N, 1, 1, T) to logits (N, K).
        responses: (R, L), as from `room_responses`; a buffer, which moves with the module.
        generator: the source of the draws; a new one seeded 0 by default.
    """

    responses: Tensor

    def __init__(self, model: Model, responses: Tensor, generator: Generator | None = None) -> None:
        super().__init__()
        self.model, self.generator = model, default_generator(generator)
        self.register_buffer("responses", responses, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Sounds (N, 1, 1, T) to logits (N, K)."""
        rooms = torch.randint(
            len(self.responses), (len(waves),), generator=self.generator,
            device=self.generator.device,
        )  # fmt: skip
        return self.model(reverberated(waves, self.responses[rooms.to(self.responses.device)]))


def reverberated(waves: Tensor, responses: Tensor) -> Tensor:
    """Waves convolved with one impulse response each, cut to their length.

    They are not clipped: a microphone's gain is set so that nothing is.

    Args:
        waves: (N, 1, 1, T).
        responses: (N, L).

    Returns:
        (N, 1, 1, T).
    """
    size = waves.shape[3] + responses.shape[1] - 1
    spectrum = torch.fft.rfft(waves, size) * torch.fft.rfft(responses, size)[:, None, None]
    return torch.fft.irfft(spectrum, size)[..., : waves.shape[3]]


def room_responses(
    count: int, generator: Generator, *, rate: int = 8000, length: int = 1024
) -> Tensor:
    """Impulse responses of shoebox-shaped rooms, by the image-source method.

    Each room is 3 to 8 by 3 to 6 by 2.4 to 3.5 m, with walls that reflect β = 0.7 to 0.9 of a
    wave's amplitude; speaker and microphone are at least 0.5 m from them. A wave along a path of d
    meters and w walls arrives after d / 343 s with amplitude βʷ / d, shared between the two nearest
    samples.

    Args:
        count: rooms.
        generator: the source of the draws; the responses are on its device.
        rate: samples per second.
        length: samples per response.

    Returns:
        (count, length). The direct wave arrives at sample 0. Each response has energy 1, so that a
        room changes a sound's timbre and echo but hardly its loudness.

    References:
        Allen and Berkley 1979, "Image method for efficiently simulating small-room acoustics".
    """
    check_count("count", count)
    check_count("rate", rate)
    check_count("length", length, 2)
    draws = torch.rand(count, 10, generator=generator, dtype=torch.float64, device=generator.device)
    smallest, largest = draws.new_tensor([[3, 3, 2.4], [8, 6, 3.5]])
    size = smallest + (largest - smallest) * draws[:, :3]
    speaker, ear = (0.5 + (size - 1) * part for part in draws[:, 3:9].split(3, dim=1))
    paths, walls = mirror_paths(size, speaker, ear)
    amplitudes = (0.7 + 0.2 * draws[:, 9:]) ** walls / paths
    delays = (paths - paths.amin(1, keepdim=True)) * rate / SPEED
    inside = delays < length - 1
    sample = delays.floor().where(inside, 0.0)
    remainder = (delays - sample).where(inside, 0.0)
    responses = draws.new_zeros(count, length)
    for index, fraction in ((sample, 1 - remainder), (sample + 1, remainder)):
        responses.scatter_add_(1, index.long(), (amplitudes * fraction).where(inside, 0.0))
    return (responses / responses.norm(dim=1, keepdim=True)).float()


def mirror_paths(size: Tensor, speaker: Tensor, ear: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (N, P) in meters of the paths from speaker to ear, and the walls each meets (P,).

    size, speaker and ear are (N, 3), in meters. Along one axis of length L the images of a speaker
    at s are at 2mL + s, after abs(2m) walls, and at 2mL − s, after abs(2m − 1).
    """
    m = torch.arange(-ORDER, ORDER + 1, dtype=size.dtype, device=size.device)
    shifts = 2 * size[..., None] * m
    images = torch.cat([shifts + speaker[..., None], shifts - speaker[..., None]], dim=2)
    counts = torch.cat([2 * m.abs(), (2 * m - 1).abs()])
    squares = (images - ear[..., None]).square()
    along = [squares[:, axis].view(len(size), *shape) for axis, shape in enumerate(_AXES)]
    walls = sum(counts.view(shape) for shape in _AXES)
    return (along[0] + along[1] + along[2]).flatten(1).sqrt(), torch.as_tensor(walls).flatten()
