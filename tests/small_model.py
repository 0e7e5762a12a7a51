"""A small quantized model for the tests: random weights, three layers, a width that needs a Hadamard of size 12·2^k."""

from functools import cache

import torch

from quamba_lab.float_model import MambaConfig, MambaLM
from quamba_lab.model import QuantizedMamba
from quamba_lab.prepare import prepare

CONFIG = MambaConfig(vocab_size=80, hidden_size=48, num_hidden_layers=3)


def tokens(b=3, l=40, seed=1):
    return torch.randint(0, CONFIG.vocab_size, (b, l), generator=torch.Generator().manual_seed(seed))


@cache
def float_model() -> MambaLM:
    """Random, with activations of a trained model's size."""
    model = MambaLM(CONFIG).initialize(0)
    with torch.no_grad():
        model.backbone.embeddings.weight.mul_(20)
        model.backbone.norm_f.weight.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(3))
        for block in model.layers:
            block.norm.weight.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(2))
            block.mixer.in_proj.weight.mul_(3)
    return model.requires_grad_(False)


@cache
def small_model() -> QuantizedMamba:
    """Calibrated with a low percentile, so that u overflows its INT8 grid, as a trained model's outliers do."""
    return prepare(float_model(), [tokens(4, 32, seed) for seed in range(3)], percentile=0.99, mode="0", progress=False)
