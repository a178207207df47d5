"""The outputs of each layer of a network, read by hooks that are removed afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from armsrace.contracts import check_images
from armsrace.models.layers import eval_mode


@torch.no_grad()
def activations(
    model: nn.Module, images: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """The output of each layer for each image, by the layer's name, in the order of computation.

    Modes and hooks are as before.

    Args:
        model: any network of modules; run once, in evaluation mode.
        images: (N, C, H, W), pixels in [0, 1].
        layers: names of submodules (`model.named_modules()`); by default those without parts of
            their own, such as "0" to "7" of a sequence of eight.

    Returns:
        {name: (N, ...)}: copies, so that a later layer which works in place does not change them,
        and without gradients; an attack that needs one takes a part of the network instead, such as
        `model[:-1]`.

    Raises:
        ValueError: a layer is unknown, takes no part, runs twice, or does not return (N, ...).

    Cost:
        One forward pass.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    check_images(images)
    parts = dict(model.named_modules())
    leaves = [name for name, part in parts.items() if not any(part.children())]
    chosen = leaves if layers is None else list(layers)
    unknown = [name for name in chosen if name not in parts]
    if unknown:
        raise ValueError(f"layers must be among {', '.join(parts)}, got {', '.join(unknown)}")
    with _hooked({name: parts[name] for name in chosen}, len(images)) as found, eval_mode(model):
        model(images)
    unused = [name for name in layers or () if name not in found]
    if unused:
        raise ValueError(f"layers must take part in the forward pass, got {', '.join(unused)}")
    return found


@contextmanager
def _hooked(parts: Mapping[str, nn.Module], count: int) -> Iterator[dict[str, Tensor]]:
    """While it lasts, the outputs (N, ...) of these parts, by name, as they are computed."""
    found: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, __: object, output: object) -> None:
        if name in found:
            raise ValueError(f"layers must run once a forward pass, {name} ran twice")
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != count:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"layers must answer ({count}, ...), {name} answered {got}")
        found[name] = output.clone()

    hooks = [part.register_forward_hook(partial(keep, name)) for name, part in parts.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
