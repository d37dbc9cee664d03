"""`counterpoint noise`: what the model sees at each time step."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from counterpoint.cli.common import console, open_model
from counterpoint.options import Dtype, Fit, Options

STEPS = (0, 51, 101, 261, 401, 601, 801, 999)


def noise(
    picture: Path,
    /,
    *,
    t: Annotated[list[int], Parameter(negative="", consume_multiple=True)] = list(STEPS),  # noqa: B006
    out: Path = Path("out/noise.png"),
    model: str = "small",
    size: str | None = None,
    fit: Fit | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: Dtype | None = None,
) -> int:
    """Show a picture as the model sees it at each time step (figure 9 of the DIFT paper).

    Latent models' noisy latents are decoded by their VAE.

    Parameters
    ----------
    picture
        The picture.
    t
        Time steps, 0 to 999, for example: --t 0 101 261.
    out
        The PNG to write.
    model
        A name known to `counterpoint models`, a folder, or a hub id.
    size
        Model input in pixels: 768, or 960x540 (width x height).
    fit
        How the picture is brought to the size.
    seed
        Of the noise.
    device
        cpu, cuda, mps; by default the best there is.
    dtype
        Of the network.
    """
    from counterpoint.backbones.base import check_t
    from counterpoint.backbones.network import DiffusionBackbone
    from counterpoint.errors import BadInput
    from counterpoint.plots import draw_strip, save_png

    options = Options(model=model, size=size, fit=fit, seed=seed, device=device, dtype=dtype)
    steps = [check_t(step) for step in t]
    backbone = open_model(options)
    if not isinstance(backbone, DiffusionBackbone):
        raise BadInput(f"expected a diffusion model, got {model}, which sees no noise")
    save_png(draw_strip(backbone.noisy(picture, steps, options)), out)
    console().print(f"wrote {out}")
    return 0
