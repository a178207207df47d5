"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.attacks.audio.room_simulation import reverberated
from armsrace.exercises import ExerciseError
from armsrace.exercises import beyond_images as chapter

CHECKS = [
    chapter.check_levels,
    chapter.check_echo,
    chapter.check_loudness,
    chapter.check_hidden_noise,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def together(levels):
    """Powers add."""
    return (
        10 * torch.logsumexp(levels * torch.tensor(10.0).log() / 10, 1) / torch.tensor(10.0).log()
    )


def echo(waves, responses):
    """A convolution."""
    return reverberated(waves[:, None, None], responses).flatten(1)


def circular(waves, responses):
    """The end comes back at the beginning."""
    return torch.fft.irfft(torch.fft.rfft(waves) * torch.fft.rfft(responses, 40), 40)


def loudness(sounds, changes):
    """The peak of the change over the sound's."""
    return 20 * (changes.abs().amax(1) / sounds.abs().amax(1)).log10()


RIGHT = {
    "Levels that add": (chapter.check_levels, together),
    "A sound in a room": (chapter.check_echo, echo),
    "How loud is the change?": (chapter.check_loudness, loudness),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_levels, lambda v: v.sum(1), "levels are logarithms"),
        (chapter.check_levels, lambda v: 2 * together(v / 2), "powers add, not amplitudes"),
        (chapter.check_levels, lambda v: together(v) / 10, "in bels"),
        (chapter.check_levels, lambda v: v.amax(1), "convert dB to powers"),
        (chapter.check_levels, lambda v: together(v)[0], "one level for each row"),
        (chapter.check_echo, circular, "echoes at its beginning"),
        (chapter.check_echo, lambda w, r: echo(w, r.flip(1)), "the sum over k"),
        (chapter.check_echo, lambda w, r: echo(w, r)[:, :20], "as many samples"),
        (chapter.check_loudness, lambda x, d: loudness(x, d) / 2, "a factor of 20"),
        (chapter.check_loudness, lambda x, d: -loudness(x, d), "a negative level"),
        (
            chapter.check_loudness,
            lambda x, d: 20 * (d.norm(dim=1) / x.norm(dim=1)).log10(),
            "not the energies",
        ),
        (chapter.check_loudness, lambda x, d: loudness(x, d)[0], "one level for each sound"),
        (chapter.check_loudness, lambda x, d: 20 * (d.amax(1) / x.amax(1)).log10(), "may be neg"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)


def quieted(hearing, sounds, change, allowed=0.01):
    """As loud as at most this fraction of the cells of each sound allows."""
    threshold = hearing.threshold(sounds)
    low, high = torch.full((len(sounds), 1, 1, 1), 1e-6), torch.full((len(sounds), 1, 1, 1), 10.0)
    for _ in range(30):
        middle = (low * high).sqrt()
        heard = hearing.levels(middle * change, sounds) > threshold
        fits = (heard.double().flatten(1).mean(1) <= allowed).view_as(low)
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return low * change


def white(hearing, sounds):
    """Noise of one level everywhere."""
    noise = torch.randn(sounds.shape, generator=torch.Generator().manual_seed(0))
    return quieted(hearing, sounds, noise)


def shaped(hearing, sounds, allowed=0.01):
    """Noise with the shape of the threshold."""
    noise = torch.randn(sounds.shape, generator=torch.Generator().manual_seed(0)).flatten(1)
    cut = {"n_fft": hearing.window, "hop_length": hearing.hop}
    cut["window"] = torch.hann_window(hearing.window)
    phases = torch.stft(noise, **cut, return_complex=True).sgn()
    spectrum = phases * 10 ** (hearing.threshold(sounds) / 20)
    change = torch.istft(spectrum, **cut, length=sounds.shape[3])
    return quieted(hearing, sounds, change.view_as(sounds), allowed)


def test_hidden_noise(capsys) -> None:
    chapter.check_hidden_noise(shaped)
    assert "Exercise “Hide the most”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (white, "the bar is 15.5"),
        (lambda h, x: quieted(h, x, x), "the bar is 15.5"),
        (lambda h, x: shaped(h, x, 0.1), "1% may be"),
        (lambda h, x: 0 * x, "some change is zero"),
        (lambda h, x: x * torch.nan, "not a number"),
        (lambda h, x: x + 1, "beyond"),
        (lambda h, x: x[0], "shape"),
    ],
)
def test_hidden_noise_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_hidden_noise(wrong)
