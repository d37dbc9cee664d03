"""`counterpoint pca`: pictures coloured by the components of their features."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model


def pca(
    *pictures: str,
    out: Path = Path("out/pca.png"),
    mask: Annotated[bool, Parameter(negative="")] = False,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Colour pictures by the first three principal components of their features, jointly.

    Parameters
    ----------
    pictures
        Pictures, folders or quoted glob patterns.
    out
        The PNG to write.
    mask
        Colour only the foreground, found by the sign of the first component.
    """
    from counterpoint.errors import ImageError
    from counterpoint.images import find_pictures, load_picture
    from counterpoint.plots import draw_components, save_png
    from counterpoint.tasks.parts.components import joint_pca

    if not pictures:
        raise ImageError("expected pictures, folders or patterns; see pca --help")
    loaded = [load_picture(path) for path in find_pictures(list(pictures))]
    maps = open_model(options).extract(loaded, options)
    colours, _ = joint_pca(maps, foreground=mask)
    save_png(draw_components(loaded, colours, maps=maps), out)
    console().print(f"wrote {out}")
    return 0
