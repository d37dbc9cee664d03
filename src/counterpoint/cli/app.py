"""The `counterpoint` command: names every subcommand without importing any."""

import logging
import sys
from collections.abc import Sequence

import cyclopts

from counterpoint.errors import CounterpointError

_COMMANDS = {
    "match": ("match.command:match", "Find the same points in other pictures."),
    "scene": ("scenes.scene:scene", "Match many views, for hloc and COLMAP."),
    "align": ("scenes.align:align", "Find the matrix between two views of a scene."),
    "edit": ("edit.command:edit", "Carry an edit of one picture to others."),
    "annotate": ("annotate.command:annotate", "Label a few pictures, get the rest."),
    "track": ("track.command:track", "Follow masks, points, boxes through a video."),
    "extract": ("extract:extract", "Write feature files for many pictures."),
    "pca": ("pca:pca", "Colour pictures by their features' components."),
    "parts": ("parts:parts", "Find the parts that pictures share."),
    "noise": ("noise:noise", "Show what the model sees at each time step."),
    "generate": ("generate:generate", "Generate pictures and match them."),
    "models": ("models:app", "List the models; fetch one's weights."),
    "bench": ("bench.birds:bench", "Measure correspondence on a data set."),
    "score": ("bench.pairs:score", "Score predictions under other protocols."),
    "failures": ("bench.failures:failures", "Draw the worst pairs of predictions."),
    "sweep": ("bench.sweep:sweep", "Find the best time step and layer."),
    "ladder": ("bench.ladder:ladder", "Measure accuracy without training, and trust."),
    "calibrate": ("bench.calibrate:calibrate", "Fit confidence as a probability."),
    "report": ("bench.report:report", "Collect results into one page."),
    "data": ("bench.data:app", "List the data sets; check one's folder."),
    "train": ("train:train", "Train the embedded model."),
    "demo": ("demo:demo", "Match real photographs with the embedded model."),
}

app = cyclopts.App(
    name="counterpoint",
    help="Find the same point in another picture, with diffusion features (DIFT).",
    help_format="plaintext",
)
for _name, (_target, _help) in _COMMANDS.items():
    app.command(f"counterpoint.cli.{_target}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 done, 1 something failed, 2 bad input, 130 stopped."""
    logging.basicConfig(level=logging.WARNING, format="counterpoint: %(message)s")
    try:
        result = app(
            arguments, result_action="return_value", exit_on_error=False, print_error=False
        )
    except (CounterpointError, cyclopts.CycloptsError) as error:
        sys.stderr.write(f"counterpoint: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("counterpoint: stopped\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        sys.exit(141)
    sys.exit(result if isinstance(result, int) else 0)
