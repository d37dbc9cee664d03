"""Features of a full-size Stable Diffusion 2.1 network with random weights: time and memory.

    python benchmarks/stable_diffusion.py [--size 768] [--ensemble 1] [--dtype bfloat16]

Writes a pipeline of Stable Diffusion 2.1's shape (2.5 GB, fp16) to a temporary folder, then, in a
fresh process, loads it and extracts one picture's features at the default tap. Prints seconds, the
process's peak memory (on Linux), and how many of the parameters were ever in memory.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def write_pipeline(folder: Path) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from support.tiny_sd import write_tokenizer

    torch.set_default_dtype(torch.float16)
    # The usual initialisation of a thousand million numbers takes minutes on a CPU.
    torch.nn.init.kaiming_uniform_ = lambda w, *_, **__: w.data.uniform_(-0.02, 0.02)
    UNet2DConditionModel(
        sample_size=96,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
        upcast_attention=True,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=768,
    ).save_pretrained(folder / "vae")
    text = CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def measure(folder: Path, size: int, ensemble: int, dtype: str) -> None:
    from skimage.data import chelsea

    import counterpoint as cp

    began = time.perf_counter()
    model = cp.load(str(folder), device="cpu", dtype=dtype)
    loaded = time.perf_counter()
    fmap = cp.extract(chelsea(), model, size=size, ensemble=ensemble, prompt="a photo of a cat")
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    networks = model.unet.network, model.vae.network
    every = sum(p.numel() for network in networks for p in network.parameters())
    print(f"load {loaded - began:.1f} s, extract {ended - loaded:.1f} s, peak {peak:.1f} GB")
    print(f"features {tuple(fmap.values.shape)}, {fmap.provenance.dtype}")
    print(f"parameters in memory {model.held_parameters() / 1e6:.0f} M of {every / 1e6:.0f} M")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        steps = (
            (write_pipeline, (Path(folder),)),
            (measure, (Path(folder), options.size, options.ensemble, options.dtype)),
        )
        for step, arguments in steps:
            process = fresh.Process(target=step, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{step.__name__} failed")


if __name__ == "__main__":
    main()
