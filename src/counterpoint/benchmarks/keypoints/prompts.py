"""The text condition of semantic tasks, for models that take one."""

from dataclasses import replace

from counterpoint.backbones.base import Backbone
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.spec import ModelSpec
from counterpoint.options import Options

PROMPT = "a photo of a {category}"
"""Text condition of semantic tasks (DIFT, section 4.2), for models that take one."""

_PROMPTED = ("stable-diffusion", "sdxl", "cleandift", "sd3", "flux", "pixart")


def takes_prompt(spec: ModelSpec) -> bool:
    """Whether a model's features depend on a prompt."""
    members = [spec_of(name) for name in spec.members]
    return any(row.family in _PROMPTED for row in [spec, *members])


def with_prompt(backbone: Backbone, options: Options, usual: str | None = PROMPT) -> Options:
    """The options with the usual prompt where none is given; none for a model that takes none."""
    if not takes_prompt(backbone.spec):
        return replace(options, prompt=None)
    return replace(options, prompt=usual if options.prompt is None else options.prompt)


def prompt_for(noun: str, prompt: str | None) -> str:
    """A prompt with a category in it; "" where there is none.

    >>> prompt_for("cat", "a photo of a {category}")
    'a photo of a cat'
    """
    return (prompt or "").replace("{category}", noun)
