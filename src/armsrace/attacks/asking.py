"""Asking a model: in evaluation mode, and with an error that names what does not fit it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from armsrace.contracts import Model


@contextmanager
def evaluating(*parts: object) -> Iterator[None]:
    """Hold those that are modules in evaluation mode; every submodule's own is put back."""
    held = [part for part in parts if isinstance(part, nn.Module)]
    modes = {part: part.training for whole in held for part in whole.modules()}
    for whole in held:
        whole.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def answer(model: Model, images: Tensor) -> Tensor:
    """What the model returns; where a module raises, a note says if dtype or device do not fit.

    No check beforehand: a module may well take images of another dtype than its weights'.
    """
    try:
        return model(images)
    except RuntimeError as error:
        if isinstance(model, nn.Module) and (weight := next(model.parameters(), None)) is not None:
            for what, given, wanted in (
                ("dtype", images.dtype, weight.dtype),
                ("device", images.device, weight.device),
            ):
                if given != wanted:
                    error.add_note(f"images have the {what} {given}, the model's weights {wanted}")
        raise
