"""The state of an unfinished training run, as safetensors: nothing is ever unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from armsrace.resources import replacing


@dataclass(frozen=True)
class Spent:
    """What a run has behind it: finished epochs, and wall-clock seconds over all its parts."""

    epochs: int
    seconds: float


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, spent: Spent) -> None:
    """Write weights, optimizer state and what is spent; replaces `path` whole."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if value is not None:
                tensors[f"optimizer.{index}.{slot}"] = torch.as_tensor(value)
    with replacing(path) as temporary:
        stored = {name: value.cpu().contiguous() for name, value in tensors.items()}
        save_file(stored, temporary, metadata={k: str(v) for k, v in vars(spent).items()})


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Spent:
    """Put the state into model and optimizer and return what is spent.

    Raises ValueError naming a damaged file, RuntimeError for another network's.
    """
    weights: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            spent = Spent(int(file.metadata()["epochs"]), float(file.metadata()["seconds"]))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, delete it to begin anew: {error}") from error
    for key, value in state.items():
        kind, _, rest = key.partition(".")
        if kind == "model":
            weights[rest] = value
        else:
            index, _, slot = rest.partition(".")
            slots.setdefault(int(index), {})[slot] = value
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return spent
