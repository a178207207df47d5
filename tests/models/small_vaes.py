"""Three small autoencoders in one network, untrained, with statistics as of a trained one."""

from __future__ import annotations

import torch
from torch import nn

from armsrace.models.abs_vae import ClassVaes


def small() -> ClassVaes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ClassVaes(classes=3, latents=2)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 2)
    return model.eval()
