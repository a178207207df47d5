"""The property that an attack leaves no trace."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from tests.attacks.cases import Case
from tests.attacks.specs import AttackSpec

CONTEXTS = (torch.enable_grad, torch.no_grad, torch.inference_mode)


def leaves_no_trace(spec: AttackSpec, case: Case) -> None:
    """Images, labels, the model in whole, generators and modes are as before.

    The case's seed says in which of the contexts: with gradients, without, in inference mode.
    """
    context = CONTEXTS[case.seed % len(CONTEXTS)]
    images, labels = case.images.clone().requires_grad_(), case.labels.clone()
    posed = replace(case, model=_marked(case.model, case.seed), images=images, labels=labels)
    before = _trace(posed.model)
    with context():
        result = posed.run(spec)
        _check_context(context())
    after = _trace(posed.model)
    assert before.keys() == after.keys(), "the model has other parts"
    for name, value in before.items():
        assert torch.equal(value, after[name]), f"{name} changed"
    assert torch.equal(images, case.images) and torch.equal(labels, case.labels), "input edited"
    assert images.requires_grad and images.grad is None, "input's gradient touched"
    assert not result.images.requires_grad, "the result hangs on a graph"
    assert result.images.data_ptr() != images.data_ptr(), "the result is the input"


def _marked(model: nn.Module, seed: int) -> nn.Module:
    """A copy with gradients, frozen parameters and mixed modes that an attack could disturb."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.requires_grad = bool(torch.rand((), generator=generator) < 0.5)
    for part in model.modules():
        part.training = bool(torch.rand((), generator=generator) < 0.5)
    return model


def _trace(model: nn.Module) -> dict[str, Tensor]:
    trace = {f"state {name}": value.clone() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        trace[f"gradient of {name}"] = _copied(parameter.grad)
        trace[f"requires_grad of {name}"] = torch.tensor(parameter.requires_grad)
    for name, part in model.named_modules():
        trace[f"mode of {name or 'the model'}"] = torch.tensor(part.training)
    return trace | {"the global generator": torch.get_rng_state()}


def _copied(gradient: Tensor | None) -> Tensor:
    assert gradient is not None, "a parameter's gradient was removed"
    return gradient.clone()


def _check_context(context: AbstractContextManager[None]) -> None:
    now = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    with context:
        expected = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    assert now == expected, "grad mode changed"
