"""The embedded model's U-Net against diffusers', which its weights are named after."""

import subprocess
import sys

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention as TheirAttention
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from counterpoint.backbones.unet import Attention, UNet, cosine_betas, linear_betas

SHAPES = [
    {"widths": (16, 32), "layers": 1, "attention": (False, True)},
    {"widths": (16, 32, 48), "layers": 1, "attention": (False, True, True)},
    {"widths": (16, 32), "layers": 2, "attention": (True, False)},
    {"widths": (16,), "layers": 3, "attention": (True,)},
]


def ours(shape, seed=0):
    torch.manual_seed(seed)
    return UNet(12, head_dim=16, groups=8, **shape).eval().requires_grad_(False)


def theirs(shape, seed=0):
    torch.manual_seed(seed)
    attention = shape["attention"]
    network = UNet2DModel(
        sample_size=8,
        in_channels=12,
        out_channels=12,
        block_out_channels=shape["widths"],
        layers_per_block=shape["layers"],
        down_block_types=tuple("AttnDownBlock2D" if on else "DownBlock2D" for on in attention),
        up_block_types=tuple("AttnUpBlock2D" if on else "UpBlock2D" for on in reversed(attention)),
        attention_head_dim=16,
        norm_num_groups=8,
    )
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_gives_the_same_weights_in_the_same_order(shape):
    mine, reference = ours(shape).state_dict(), theirs(shape).state_dict()
    assert list(mine) == list(reference)
    for name, value in mine.items():
        assert torch.equal(value, reference[name]), name


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_are_the_same(shape, fused):
    mine, reference = ours(shape), theirs(shape)
    for module in mine.modules():
        if isinstance(module, Attention):
            module.fused = fused
    for module in reference.modules():
        if isinstance(module, TheirAttention):
            module.set_processor(AttnProcessor2_0() if fused else AttnProcessor())
    grid = torch.randn(2, 12, 8, 16).contiguous(memory_format=torch.channels_last)
    t = torch.tensor([3, 977])
    wanted = reference(grid, t).sample
    torch.testing.assert_close(mine(grid, t), wanted, rtol=1e-5, atol=1e-5)


def test_gradients_are_the_same():
    mine, reference = ours(SHAPES[1]).train(), theirs(SHAPES[1]).train()
    for module in reference.modules():
        if isinstance(module, TheirAttention):
            module.set_processor(AttnProcessor())
    grid, t = torch.randn(2, 12, 8, 8), torch.tensor([3, 977])
    mine.requires_grad_(True)(grid, t).square().mean().backward()
    reference.requires_grad_(True)(grid, t).sample.square().mean().backward()
    for (name, a), b in zip(mine.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_bfloat16_stays_bfloat16():
    network = ours(SHAPES[0]).to(torch.bfloat16)
    grid = torch.randn(1, 12, 8, 8, dtype=torch.bfloat16)
    assert network(grid, torch.tensor([3])).dtype == torch.bfloat16


def test_schedules_are_the_same():
    for name, betas in (("linear", linear_betas), ("squaredcos_cap_v2", cosine_betas)):
        reference = DDPMScheduler(num_train_timesteps=1000, beta_schedule=name)
        assert torch.equal((1 - betas(1000)).cumprod(0), reference.alphas_cumprod)


def test_the_embedded_model_does_without_diffusers():
    code = (
        "import sys, numpy; from counterpoint import extract, load; "
        "extract([numpy.zeros((40, 40, 3), numpy.uint8)], load('small'), size=32); "
        "print([m for m in ('diffusers', 'transformers', 'scipy', 'sympy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
