"""The `counterpoint` command: names every subcommand without importing any."""

import logging
import sys
from collections.abc import Sequence

import cyclopts

from counterpoint.cli.helptexts import HouseHelp, epilogue
from counterpoint.errors import CounterpointError, UnknownName

_USE, _MEASURE, _MODELS = (
    cyclopts.Group(title, sort_key=place)
    for place, title in enumerate(("Use", "Measure", "Models, data, this program"), 1)
)
_COMMANDS = {
    "match": (_USE, "match.command:match", "Find the same points in other pictures."),
    "scene": (_USE, "scenes.scene:scene", "Match many views, for hloc and COLMAP."),
    "align": (_USE, "scenes.align:align", "Find the matrix between two views of a scene."),
    "edit": (_USE, "edit.command:edit", "Carry an edit of one picture to others."),
    "annotate": (_USE, "annotate.command:annotate", "Label a few pictures, get the rest."),
    "track": (_USE, "track.command:track", "Follow masks, points, boxes through a video."),
    "extract": (_USE, "extract:extract", "Write feature files for many pictures."),
    "pca": (_USE, "pca:pca", "Colour pictures by their features' components."),
    "parts": (_USE, "parts:parts", "Find the parts that pictures share."),
    "noise": (_USE, "noise:noise", "Show what the model sees at each time step."),
    "generate": (_USE, "generate:generate", "Generate pictures and match them."),
    "models": (_MODELS, "models:app", "List the models; fetch one's weights."),
    "bench": (_MEASURE, "bench.birds:bench", "Measure correspondence on a data set."),
    "score": (_MEASURE, "bench.pairs:score", "Score predictions under other protocols."),
    "failures": (_MEASURE, "bench.failures:failures", "Draw the worst pairs of predictions."),
    "sweep": (_MEASURE, "bench.sweep:sweep", "Find the best time step and layer."),
    "ladder": (_MEASURE, "bench.ladder:ladder", "Measure accuracy without training, and trust."),
    "calibrate": (_MEASURE, "bench.calibrate:calibrate", "Fit confidence as a probability."),
    "report": (_MEASURE, "bench.report:report", "Collect results into one page."),
    "data": (_MODELS, "bench.data:app", "List the data sets; check one's folder."),
    "train": (_MODELS, "train:train", "Train the embedded model."),
    "demo": (_MODELS, "demo:demo", "Match real photographs with the embedded model."),
    "completion": (_MODELS, "completion:completion", "Print what your shell completes with."),
}

app = cyclopts.App(
    name="counterpoint",
    help="Find the same point in another picture, with diffusion features (DIFT).",
    help_format="plaintext",
    help_formatter=HouseHelp(),
    help_epilogue=epilogue(""),
    suppress_keyboard_interrupt=False,  # `main` says that it stopped
)
for _name, (_group, _target, _help) in _COMMANDS.items():
    app.command(
        f"counterpoint.cli.{_target}",
        name=_name,
        help=_help,
        group=_group,
        sort_key=list(_COMMANDS).index(_name),
    )
for _flags in (app.help_flags, app.version_flags):
    for _flag in _flags:
        app[_flag].group = _MODELS
        app[_flag].sort_key = len(_COMMANDS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 done, 1 something failed, 2 bad input, 130 stopped."""
    logging.basicConfig(level=logging.WARNING, format="counterpoint: %(message)s")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _explain(words)
        result = app(words, result_action="return_value", exit_on_error=False, print_error=False)
    except CounterpointError as error:
        sys.stderr.write(f"counterpoint: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except cyclopts.CycloptsError as error:
        sys.stderr.write(f"counterpoint: {_usage_error(error)}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("counterpoint: stopped\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        sys.exit(141)
    sys.exit(result if isinstance(result, int) else 0)


def _explain(words: Sequence[str]) -> None:
    """Give the command that is asked for its whole help: the docstring, and examples.

    The list of commands shows the short texts above, so that it need not import any of them.
    """
    if not {"--help", "-h"} & set(words):
        return
    command, path = app, ""
    for word in words:
        if word.startswith("-") or word not in command:
            break
        command, path = command[word], f"{path} {word}".strip()
        if callable(command.default_command):
            command.help = command.default_command.__doc__ or command.help
        command.help_epilogue = epilogue(path) or None


def _usage_error(error: cyclopts.CycloptsError) -> str:
    """What was typed wrong, in one line, and where to read on."""
    chain = list(error.command_chain or ())
    command = app
    for word in chain:
        command = command[word]
    said = " ".join(str(error).split()).rstrip(".")
    unused = getattr(error, "unused_tokens", None)
    if unused and not isinstance(error, cyclopts.UnknownOptionError):
        names = [name for name in command if not name.startswith("-")]
        if names:
            of = f" of {' '.join(chain)}" if chain else ""
            return str(UnknownName(f"command{of}", unused[0], names))
        said = f"unexpected {unused[0]!r}; quote names with spaces"
    return f"{said}; see {' '.join(['counterpoint', *chain])} --help"
