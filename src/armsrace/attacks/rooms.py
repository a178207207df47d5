"""What rooms do to a sound, simulated: responses by mirror images, and a model that hears in them.

Qin et al. 2019 make sounds that survive rooms by averaging over simulated ones; so here.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from armsrace.attacks.randomness import default_generator
from armsrace.contracts import Model, check_count

SPEED = 343.0
"""Of sound, metres a second."""
ORDER = 5
"""Mirror images are taken up to so many rooms away each way: all echoes of the first 60 ms."""
_AXES = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def room_responses(
    count: int, generator: Generator, *, rate: int = 8000, length: int = 1024
) -> Tensor:
    """Impulse responses (count, length) of shoebox rooms, by mirror images.

    Each room is 3 to 8 by 3 to 6 by 2.4 to 3.5 m, with walls that reflect 0.7 to 0.9 of a wave's
    amplitude; speaker and microphone stand at least 0.5 m off them. A wave along a path of d
    metres and w walls arrives after d / 343 s with amplitude βʷ / d (Allen and Berkley 1979),
    shared between the two nearest samples. The direct wave comes first, at sample 0, and each
    response has the energy 1, so that rooms change a sound's timbre and echo but hardly its
    loudness. They are on the generator's device. Raises ValueError or TypeError naming the
    argument and the rule it breaks.
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
    early = delays < length - 1
    first = delays.floor().where(early, 0.0)
    later = (delays - first).where(early, 0.0)
    responses = draws.new_zeros(count, length)
    for place, share in ((first, 1 - later), (first + 1, later)):
        responses.scatter_add_(1, place.long(), (amplitudes * share).where(early, 0.0))
    return (responses / responses.norm(dim=1, keepdim=True)).float()


def mirror_paths(size: Tensor, speaker: Tensor, ear: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths in metres (N, P) of the paths from speaker to ear, and the walls each meets (P,).

    size, speaker and ear are (N, 3), in metres. Along one axis of length L the images of a speaker
    at s stand at 2mL + s, after 2|m| walls, and at 2mL - s, after |2m - 1|.
    """
    turns = torch.arange(-ORDER, ORDER + 1, dtype=size.dtype, device=size.device)
    shifts = 2 * size[..., None] * turns
    images = torch.cat([shifts + speaker[..., None], shifts - speaker[..., None]], dim=2)
    counts = torch.cat([2 * turns.abs(), (2 * turns - 1).abs()])
    squares = (images - ear[..., None]).square()
    along = [squares[:, axis].view(len(size), *shape) for axis, shape in enumerate(_AXES)]
    walls = sum(counts.view(shape) for shape in _AXES)
    return (along[0] + along[1] + along[2]).flatten(1).sqrt(), torch.as_tensor(walls).flatten()


def reverberated(waves: Tensor, responses: Tensor) -> Tensor:
    """Waves (N, 1, 1, T) heard through one response each (N, L): a convolution cut to T samples.

    Not clipped: a microphone's gain is set so that nothing is.
    """
    size = waves.shape[3] + responses.shape[1] - 1
    heard = torch.fft.rfft(waves, size) * torch.fft.rfft(responses, size)[:, None, None]
    return torch.fft.irfft(heard, size)[..., : waves.shape[3]]


class InRooms(nn.Module):
    """A model that hears each sound through a room drawn anew for it at each call.

    responses: (R, L), as from `room_responses`; a buffer, which moves with the module.
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
