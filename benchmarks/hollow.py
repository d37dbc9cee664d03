"""Hollow checkpoints: the zoo's models at full size, in their real layout, without their numbers.

Weight files are safetensors with every tensor's name, shape and type, but their data is a hole in a
sparse file: a model of 5 GB takes no space on disk and reads as zeros. So loading, taps, memory and
time can be measured where no weights are. Of the published checkpoints differ: all tensors are
bfloat16 in one file a network; text encoders have one thin layer, of the published output width;
of image-text models there is the image half alone.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import DDPMScheduler

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from published import PUBLISHED, Config

from counterpoint.backbones.latent import no_progress_bar, on_meta
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.vit import network_on_meta
from counterpoint.backbones.zoo import ZOO

Shapes = Mapping[str, tuple[int, ...]]

_BYTES = {"BF16": 2, "F16": 2, "F32": 4}

_OLD_VAES = ("sd15", "sd21", "sd21-base", "vae")
"""Models whose VAE was published before diffusers renamed its attention's layers."""
_OLD_NAMES = {
    ".to_q.": ".query.",
    ".to_k.": ".key.",
    ".to_v.": ".value.",
    ".to_out.0.": ".proj_attn.",
}

_CLIP, _PROJECTED, _T5 = "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"
_TEXT = {
    "sd15": {"": (_CLIP, 768)},
    "sdxl": {"": (_CLIP, 768), "_2": (_PROJECTED, 1280)},
    "sd3": {"": (_PROJECTED, 768), "_2": (_PROJECTED, 1280), "_3": (_T5, 4096)},
    "flux": {"": (_CLIP, 768), "_2": (_T5, 4096)},
    "pixart": {"": (_T5, 4096)},
}
"""By model or family, and suffix of the folder's name: class and output width."""
_TEXT_2 = {"": (_CLIP, 1024)}

_PIPELINES = {
    "stable-diffusion": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "pixart": "PixArtAlphaPipeline",
}


def hollow(name: str, folder: Path) -> ModelSpec:
    """Write a model's hollow checkpoint.

    Args:
        name: of the zoo.
        folder: where to, created.

    Returns:
        The model's row with the checkpoint in place of the name. Models that need no weights are
        returned as they are.
    """
    row = ZOO[name]
    folder.mkdir(parents=True, exist_ok=True)
    if row.family == "adm":
        return _file(row, folder / "adm.safetensors", _guided_diffusion())
    if row.family == "cleandift":
        hollow(row.base, folder)
        network = on_meta("UNet2DConditionModel", PUBLISHED[row.base]["unet"])
        return _file(row, folder / row.filename, _shapes(network))
    if name not in PUBLISHED:
        return row
    for part, config in PUBLISHED[name].items():
        _network(folder / part, config, old=part in ("", "vae") and name in _OLD_VAES)
    if row.layout == "pipeline":
        _surround(folder, row)
    return replace(row, name=str(folder))


def write_hollow(path: Path, shapes: Shapes, dtype: str = "BF16") -> None:
    """A safetensors file of the given tensors whose data is a hole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + _BYTES[dtype] * torch.Size(shape).numel()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _file(row: ModelSpec, path: Path, shapes: Shapes) -> ModelSpec:
    write_hollow(path, shapes)
    return replace(row, name=str(path), filename=path.name)


def _guided_diffusion() -> Shapes:
    from support.tiny_adm import published_shapes

    return published_shapes()


def _network(folder: Path, config: Config, *, old: bool) -> None:
    """One network's folder: config.json and a hollow file of weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if "model_type" in config:
        prefix = "vision_model." if "vision_config" in config else ""
        shapes = _shapes(network_on_meta(config), prefix)
        return write_hollow(folder / "model.safetensors", shapes)
    shapes = _shapes(on_meta(*_today(config)))
    if old:
        shapes = {_old(name): shape for name, shape in shapes.items()}
    return write_hollow(folder / "diffusion_pytorch_model.safetensors", shapes)


def _today(config: Config) -> tuple[str, Config]:
    """The class of today's diffusers that runs a network, and what it takes."""
    name = config["_class_name"]
    if name != "Transformer2DModel":
        return name, config
    return "PixArtTransformer2DModel", config


def _shapes(network: Any, prefix: str = "") -> Shapes:
    """Names and shapes of a network's tensors as a checkpoint has them."""
    tensors: dict[str, torch.Tensor] = network.state_dict()
    if hasattr(network, "config_class"):  # of transformers, which has renamed its modules since
        from transformers.core_model_loading import revert_weight_conversion

        tensors = revert_weight_conversion(network, tensors)
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {prefix + name: tuple(tensor.shape) for name, tensor in bare.items()}


def _old(name: str) -> str:
    if ".attentions." in name:
        for today, before in _OLD_NAMES.items():
            name = name.replace(today, before)
    return name


def _surround(folder: Path, row: ModelSpec) -> None:
    """What a pipeline's folder holds beside its large networks."""
    from support.tiny_dit import write_tiny_pixart
    from support.tiny_sd import write_scheduler, write_tokenizer

    text = _TEXT.get(row.name) or _TEXT.get(row.family, _TEXT_2)
    for suffix, (kind, width) in text.items():
        _text_encoder(folder / f"text_encoder{suffix}", kind, width)
        if kind != _T5:
            write_tokenizer(folder / f"tokenizer{suffix}")
    t5 = [suffix for suffix, (kind, _) in text.items() if kind == _T5]
    if t5:
        with TemporaryDirectory(dir=folder) as tiny, no_progress_bar():
            tokenizer = write_tiny_pixart(Path(tiny)) / "tokenizer"
            tokenizer.rename(folder / f"tokenizer{t5[0]}")
    if row.family == "pixart":
        DDPMScheduler(beta_start=0.0001, beta_end=0.02).save_pretrained(folder / "scheduler")
    else:
        write_scheduler(folder / "scheduler")
    pipeline = _PIPELINES[row.family]
    if row.name == "pixart-sigma":
        pipeline = "PixArtSigmaPipeline"
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))


def _text_encoder(folder: Path, kind: str, width: int) -> None:
    import transformers

    from support.tiny_sd import tiny_text

    folder.mkdir()
    with torch.device("meta"):
        if kind == _T5:
            network = transformers.T5EncoderModel(
                transformers.T5Config(
                    vocab_size=128,
                    d_model=width,
                    d_ff=32,
                    num_layers=1,
                    num_heads=2,
                    feed_forward_proj="gated-gelu",
                    tie_word_embeddings=False,
                )
            )
        else:
            network = tiny_text(
                getattr(transformers, kind),
                hidden_size=width,
                projection_dim=width,
                num_hidden_layers=1,
                num_attention_heads=width // 64,
            )
    network.config.save_pretrained(folder)
    write_hollow(folder / "model.safetensors", _shapes(network))
