"""The `counterpoint` command: names every subcommand without importing any."""

import logging
import sys
from collections.abc import Sequence

import cyclopts

from counterpoint.errors import CounterpointError

_COMMANDS = {
    "match": ("counterpoint.cli.match:match", "Find the same points in other pictures."),
    "scene": ("counterpoint.cli.scene:scene", "Match many views, for hloc and COLMAP."),
    "align": ("counterpoint.cli.align:align", "Find the matrix between two views of a scene."),
    "edit": ("counterpoint.cli.edit:edit", "Carry an edit of one picture to others."),
    "annotate": ("counterpoint.cli.annotate:annotate", "Label a few pictures, get the rest."),
    "track": ("counterpoint.cli.track:track", "Follow masks, points, boxes through a video."),
    "extract": ("counterpoint.cli.extract:extract", "Write feature files for many pictures."),
    "pca": ("counterpoint.cli.pca:pca", "Colour pictures by their features' components."),
    "parts": ("counterpoint.cli.parts:parts", "Find the parts that pictures share."),
    "noise": ("counterpoint.cli.noise:noise", "Show what the model sees at each time step."),
    "generate": ("counterpoint.cli.generate:generate", "Generate pictures and match them."),
    "models": ("counterpoint.cli.models:app", "List the models; fetch one's weights."),
    "bench": ("counterpoint.cli.bench:bench", "Measure correspondence on a data set."),
    "score": ("counterpoint.cli.bench_pairs:score", "Score predictions under other protocols."),
    "failures": ("counterpoint.cli.failures:failures", "Draw the worst pairs of predictions."),
    "sweep": ("counterpoint.cli.sweep:sweep", "Find the best time step and layer."),
    "ladder": ("counterpoint.cli.ladder:ladder", "Measure accuracy without training, and trust."),
    "calibrate": ("counterpoint.cli.calibrate:calibrate", "Fit confidence as a probability."),
    "report": ("counterpoint.cli.report:report", "Collect results into one page."),
    "data": ("counterpoint.cli.data:app", "List the data sets; check one's folder."),
    "train": ("counterpoint.cli.train:train", "Train the embedded model."),
    "demo": ("counterpoint.cli.demo:demo", "Match real photographs with the embedded model."),
}

app = cyclopts.App(
    name="counterpoint",
    help="Find the same point in another picture, with diffusion features (DIFT).",
    help_format="plaintext",
)
for _name, (_target, _help) in _COMMANDS.items():
    app.command(_target, name=_name, help=_help)


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
