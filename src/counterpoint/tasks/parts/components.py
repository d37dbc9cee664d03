"""Parts by principal components: figures 10 and 14 of the DIFT paper."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap

Colours = Float[Tensor, "_ _ 3"]
Mask = Bool[Tensor, "_ _"]

_ROUNDING = 1e-5
"""Of unit vectors in float32."""


def joint_pca(
    maps: Sequence[FeatureMap], *, foreground: bool = False
) -> tuple[list[Colours], list[Mask]]:
    """Colour the cells of several pictures by their first three principal components together.

    Cells are normalised, centred over all the pictures and projected; each component is stretched
    from its 2nd to its 98th percentile to 0 to 1, so equal colours mean like features in every
    picture. Components' signs are fixed by their largest weight.

    Args:
        maps: feature maps of one kind.
        foreground: split the cells first by the sign of the first component, the side that
            touches the pictures' borders less being foreground, then colour within it alone.

    Returns:
        Colours (rows, columns, 3) from 0 to 1, and masks (rows, columns) of the cells coloured.

    Raises:
        BadInput: no maps, maps of different kinds, nothing but padding, NaN or infinity.

    >>> ramp = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    >>> fmap = FeatureMap(torch.cat([ramp, 1 - ramp, ramp**2, ramp**3]), (32, 32))
    >>> [colours], [mask] = joint_pca([fmap])
    >>> colours.shape, bool(mask.all())
    (torch.Size([8, 8, 3]), True)
    """
    require_channels(maps)
    masks = [valid_cells(m) for m in maps]
    cells = [unit_cells(m) for m in maps]
    if foreground:
        masks = _foreground(cells, masks)
    mean, axes = principal_axes(_chosen(cells, masks), 3)
    projected = [(c - mean) @ axes for c in cells]
    low, high = _percentiles(_chosen(projected, masks))
    # Components narrower than rounding carry no picture: they come out dark, not as noise.
    spread = (high - low).clamp_min(_ROUNDING)
    colours = [((p - low) / spread).clamp(0, 1) for p in projected]
    return [c * mask[..., None] for c, mask in zip(colours, masks, strict=True)], masks


def require_channels(maps: Sequence[FeatureMap]) -> None:
    """See that there are maps of as many channels, with something of a picture among them.

    Raises:
        BadInput: no maps, maps of different kinds, nothing but padding.
    """
    if not maps:
        raise BadInput("expected at least one feature map, got none")
    kinds = sorted({m.channels for m in maps})
    if len(kinds) > 1:
        raise BadInput(f"expected maps of one kind, got {kinds} channels; use one model")
    if not any(bool(valid_cells(m).any()) for m in maps):
        raise BadInput("expected a map with a cell on its picture, got only padding")


def principal_axes(
    cells: Float[Tensor, "cells channels"], count: int
) -> tuple[Float[Tensor, " channels"], Float[Tensor, "channels count"]]:
    """Mean and the first principal axes of a set of vectors, axes' signs fixed.

    Where there are fewer channels than asked, the missing axes are zero.
    """
    mean = cells.mean(dim=0)
    # In pieces: a copy of all cells in double precision could be gigabytes.
    centred = ((piece - mean).double() for piece in cells.split(8192))
    scatter = sum((piece.T @ piece for piece in centred), torch.zeros(()))
    _, vectors = torch.linalg.eigh(scatter)
    axes = vectors.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    missing = count - axes.shape[1]
    return mean, torch.nn.functional.pad(axes, (0, max(0, missing))).float()


def unit_cells(fmap: FeatureMap) -> Float[Tensor, "rows columns channels"]:
    """A map's vectors at unit length, float32, on the CPU, whatever device each map came from."""
    values = fmap.values.detach().cpu().float()
    if not bool(torch.isfinite(values).all()):
        raise BadInput("expected finite features, got NaN or infinity; extract again")
    return torch.nn.functional.normalize(values, dim=0).permute(1, 2, 0)


def _chosen(
    grids: Sequence[Float[Tensor, "_ _ channels"]], masks: Sequence[Mask]
) -> Float[Tensor, "cells channels"]:
    return torch.cat([grid[mask] for grid, mask in zip(grids, masks, strict=True)])


def _percentiles(
    projected: Float[Tensor, "cells count"],
) -> tuple[Float[Tensor, " count"], Float[Tensor, " count"]]:
    """The 2nd and 98th of each component; numpy's, for torch's ends at 16 million cells."""
    low, high = np.percentile(projected.numpy(), (2, 98), axis=0).astype(np.float32)
    return torch.from_numpy(low), torch.from_numpy(high)


def valid_cells(fmap: FeatureMap) -> Mask:
    """Which cells lie on the picture, (rows, columns), on the CPU."""
    if fmap.valid is not None:
        return fmap.valid.cpu()
    return torch.ones(fmap.values.shape[1:], dtype=torch.bool)


def _foreground(cells: Sequence[Float[Tensor, "_ _ channels"]], valid: list[Mask]) -> list[Mask]:
    """Cells on the side of the first component that the pictures' borders are less on."""
    mean, axes = principal_axes(_chosen(cells, valid), 1)
    axis = axes[:, 0]
    axis = axis * outward_sign([(c - mean) @ axis > 0 for c in cells], valid)
    chosen = [((c - mean) @ axis > 0) & v for c, v in zip(cells, valid, strict=True)]
    return chosen if any(bool(c.any()) for c in chosen) else valid


def outward_sign(sides: Sequence[Mask], valid: Sequence[Mask]) -> float:
    """1 where the cells marked are the foreground, -1 where the others are.

    A subject lies inside its picture: the foreground is the side that has less of the borders than
    of what they enclose, by the mean over the pictures. A subject that fills some of its pictures
    to the edge does not turn that.

    Args:
        sides: (rows, columns) of each picture, cells on one side of a component.
        valid: (rows, columns) of each, cells that count.
    """
    inward = 0.0
    for side, counts in zip(sides, valid, strict=True):
        if not bool(counts.any()):
            continue
        bounds = valid_bounds(counts)
        edge = border_cells(counts[bounds])
        rest = counts[bounds] & ~edge
        if bool(edge.any()) and bool(rest.any()):
            inward += float(side[bounds][rest].float().mean() - side[bounds][edge].float().mean())
    return -1.0 if inward < 0 else 1.0


def valid_bounds(valid: Mask) -> tuple[slice, slice]:
    """The rectangle of valid cells: padding lies right and below, or around."""
    rows, columns = valid.any(dim=1).nonzero(), valid.any(dim=0).nonzero()
    return (
        slice(int(rows.min()), int(rows.max()) + 1),
        slice(int(columns.min()), int(columns.max()) + 1),
    )


def border_cells(valid: Mask) -> Mask:
    """The outermost valid cells of a grid, (rows, columns)."""
    inner = torch.zeros_like(valid)
    inner[1:-1, 1:-1] = True
    return valid & ~inner
