"""Does the network find a picture's parts in another crop of it? The error of its estimate of a
noisy crop, beside another crop of the same picture and beside one of another picture.

    python benchmarks/second_view.py --data PACKED
"""

import argparse
from pathlib import Path

import torch

from counterpoint.backbones import small_net
from counterpoint.backbones.small import embedded_weights
from counterpoint.backbones.unet import attend_across
from counterpoint.training import load_packed
from counterpoint.training.augment import random_crops

STEPS, OF_THE_OTHER = (300, 500, 700, 900), 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path(str(embedded_weights())))
    parser.add_argument("--pictures", type=int, default=256)
    args = parser.parse_args()
    net = small_net.load(args.weights).network()
    attend_across(net)
    generator = torch.Generator().manual_seed(0)
    some = load_packed(args.data).pixels[: args.pictures].repeat_interleave(2, dim=0)
    clean = random_crops(some, net.config.train_size_px, generator, area=0.35, aspect=1.2)
    alphas = small_net.alphas_cumprod(net.config)
    print("| t | beside its own second crop | beside another picture's |\n|---|---|---|")
    for step in STEPS:
        t = torch.tensor([OF_THE_OTHER, step]).repeat(args.pictures)
        alpha = alphas[t].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        own = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        others = own.clone()
        others[::2] = own[::2].roll(1, 0)
        errors = [error(net, noisy, t, clean) for noisy in (own, others)]
        print(f"| {step} | {errors[0]:.4f} | {errors[1]:.4f} |", flush=True)


@torch.inference_mode()
def error(net: small_net.SmallNet, noisy: torch.Tensor, t: torch.Tensor, clean: torch.Tensor):
    """Mean square error of the estimates of every second crop."""
    found = small_net.clean_estimate(net.config, net(noisy, t), noisy, t)
    return (found - clean)[1::2].square().mean()


if __name__ == "__main__":
    main()
