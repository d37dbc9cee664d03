"""How `--help` looks: texts set as paragraphs, an example for each command."""

import re
from typing import TYPE_CHECKING, Any

from cyclopts.help import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "demo",
        "match cat.jpg dog.jpg --at 120,85 --out out",
        "COMMAND --help",
    ),
    "match": (
        "match cat.jpg dog.jpg painting.jpg --at 120,85 --at 200,90 --out out",
        "match left.png right.png --mutual --json",
        "match cat.jpg dog.jpg --at 120,85 --model sd21 --ensemble 8",
    ),
    "scene": (
        "scene photos/ --out scene",
        "scene photos/ --out scene --keypoints sift --count 2000",
    ),
    "align": (
        "align left.png right.png --out out",
        "align left.png right.png --relation fundamental --json",
    ),
    "edit": (
        "edit cat.jpg photos/ --sticker hat.png --at 120,40 --width 80 --out out",
        "edit cat.jpg other.jpg clip.mp4 --edited cat-painted.jpg --out out",
    ),
    "annotate": (
        "annotate labels.json --images photos/ --out out",
        "annotate labels.json photos/new/ --images photos/ --min-confidence 0.3 --out out",
    ),
    "track": (
        "track clip.mp4 --mask first.png --out out",
        "track frames/ --points nose=120,85 tail=300,140 --out out",
        "track clip.mp4 --boxes 40,30,120,90 --size 640x352 --out out",
    ),
    "extract": (
        "extract photos/ --out features",
        'extract "photos/*.jpg" --out features --model sd21 --t 101+261 --tap up:1+up:2',
    ),
    "pca": ('pca "photos/*.jpg" --mask --out out/pca.png',),
    "parts": (
        "parts photos/ --k 8 --out out/parts",
        "parts more/ --fitted out/parts/parts.safetensors --out out/more",
    ),
    "noise": ("noise cat.jpg --t 0 101 261 601 --out out/noise.png",),
    "generate": ("generate --count 4 --t 50 150 --twin shift --out out/generated",),
    "models": (
        "models",
        "models show sd21 --size 960x540",
        "models fetch sd21",
    ),
    "models show": ("models show sd21 --size 960x540", "models show small --json"),
    "models fetch": ("models fetch sd21", "models fetch sd21+dinov2-vitb14"),
    "bench": (
        "bench cub --data CUB_200_2011 --size 128",
        "bench spair --data SPair-71k --limit 100 --out predictions",
        "bench motorcycle",
    ),
    "bench cub": ("bench cub --data CUB_200_2011 --size 128 --t 20 50 150",),
    "bench spair": (
        "bench spair --data SPair-71k --limit 100 --out predictions",
        "bench spair --data SPair-71k --viewpoint hard --categories cat dog",
    ),
    "bench willow": ("bench willow --data PF-WILLOW --out predictions",),
    "bench pascal": ("bench pascal --data PF-PASCAL --alpha 0.05 0.1",),
    "bench ap10k": ("bench ap10k --data AP-10K --subset cross-species",),
    "bench tss": ("bench tss --data TSS_CVPR2016",),
    "bench hpatches": ("bench hpatches --data hpatches-sequences-release",),
    "bench davis": ("bench davis --data DAVIS --out predictions",),
    "bench jhmdb": ("bench jhmdb --data JHMDB",),
    "bench tapvid": ("bench tapvid --data tapvid_davis.pkl",),
    "bench badja": ("bench badja --data BADJA --davis DAVIS",),
    "bench motorcycle": ("bench motorcycle --t 20 --tap up:1",),
    "score": ("score predictions/*.safetensors --data SPair-71k --alpha 0.05 0.1",),
    "failures": ("failures predictions/small.safetensors --data SPair-71k --out out/failures",),
    "sweep": ("sweep cub --data CUB_200_2011 --t 20 50 150 --tap all --out out/sweep",),
    "ladder": ("ladder cub --data CUB_200_2011 --out out/ladder",),
    "calibrate": ("calibrate cub --data CUB_200_2011 --out calibration.json",),
    "report": ("report results/ --out report",),
    "data": ("data", "data check SPair-71k"),
    "data check": ("data check SPair-71k", "data check data-sets/ --json"),
    "train": ("train tiny-imagenet --preset mini --out out/train",),
    "demo": ("demo --out out",),
    "completion": (
        "completion bash > ~/.local/share/bash-completion/completions/counterpoint",
        "completion fish > ~/.config/fish/completions/counterpoint.fish",
    ),
}
"""Of each command, without the leading `counterpoint`."""


def epilogue(command: str) -> str:
    """A command's examples, as they stand below its help; "" where there are none."""
    lines = EXAMPLES.get(command, ())
    if not lines:
        return ""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join([title, *(f"  counterpoint {line}" for line in lines)])


def paragraphs(text: str) -> str:
    """A docstring's lines joined, its paragraphs kept apart.

    >>> paragraphs("A word\\nmore.\\n\\nAnother.")
    'A word more.\\n\\nAnother.'
    """
    parts = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(part.split()) for part in parts)


class HouseHelp(DefaultFormatter):
    """Cyclopts' panels, with what only a programmer would miss left out."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Render one panel."""
        super().__call__(console, options, panel.copy(entries=[_tidy(e) for e in panel.entries]))

    def render_description(
        self,
        console: "Console",
        options: "ConsoleOptions",  # noqa: ARG002
        description: Any,
    ) -> None:
        """Render what a command does, as paragraphs of the console's width."""
        text = _plain(description)
        if text:
            console.print(f"{paragraphs(text)}\n", markup=False, highlight=False)


def _tidy(entry: "HelpEntry") -> "HelpEntry":
    """An entry whose text is a paragraph; no ``--empty-t``, no default of a flag that is off."""
    changes: dict[str, Any] = {
        "negative_names": tuple(n for n in entry.negative_names if not n.startswith("--empty-"))
    }
    text = _plain(entry.description)
    if text:
        changes["description"] = _sentence(paragraphs(text))
    if entry.default in ("False", "[]", "()"):
        changes["default"] = None
    if entry.metavar and "|" in entry.metavar and entry.positive_names:
        changes["metavar"] = entry.positive_names[0].lstrip("-").upper()
    return entry.copy(**changes)


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a word that is typed so."""
    first = text.split(maxsplit=1)[0]
    return text[0].upper() + text[1:] if first.isalpha() else text


def _plain(description: Any) -> str:
    """The text of whatever Cyclopts holds it in."""
    inner = getattr(description, "primary_renderable", description)
    return str(getattr(inner, "plain", inner) or "")
