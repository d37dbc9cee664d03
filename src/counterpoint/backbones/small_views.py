"""Two crops of a picture at once, and attention over both: the one helps to denoise the other.

The idea of cross-view completion (CroCo, Weinzaepfel et al. 2022) as denoising: where the second
crop is mostly noise, what it shows can be taken from the first, by finding it there.
"""

from typing import Any, cast

from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor, nn


class AttentionAcross:
    """A processor of diffusers' `Attention`: the cells of two neighbours in the batch are one set.

    A picture beside itself gets what the ordinary attention gives it alone, so weights trained
    with this are read with that.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "batch channels rows columns"],
        encoder_hidden_states: None = None,  # noqa: ARG002 (diffusers passes these by name)
        attention_mask: None = None,  # noqa: ARG002
        temb: Tensor | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The output of the attention, its input added."""
        n, _, rows, columns = hidden_states.shape
        x = _module(attn.group_norm)(hidden_states.flatten(2)).transpose(1, 2)
        x = x.unflatten(0, (n // 2, 2)).flatten(1, 2)
        query, key, value = (
            _module(part)(x).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q, attn.to_k, attn.to_v)
        )
        weights = ((query * attn.scale) @ key.transpose(2, 3)).softmax(dim=-1)
        found = cast("nn.ModuleList", attn.to_out)[0]((weights @ value).transpose(1, 2).flatten(2))
        found = found.unflatten(1, (2, rows * columns)).flatten(0, 1).transpose(1, 2)
        return (found.unflatten(2, (rows, columns)) + hidden_states) / attn.rescale_output_factor


def attend_across(net: nn.Module) -> None:
    """Let every attention of a network see both crops of a picture."""
    for module in net.modules():
        if isinstance(module, Attention):
            module.set_processor(cast("Any", AttentionAcross()))


def _module(part: Any) -> nn.Module:
    return cast("nn.Module", part)
