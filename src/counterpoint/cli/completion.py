"""`counterpoint completion`: what a shell needs to complete commands and options."""

import sys
from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a script that completes this command in a shell.

    Nothing is installed: write the output where your shell looks for completions.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from counterpoint.cli.app import app

    sys.stdout.write(app.generate_completion(prog_name="counterpoint", shell=shell))
    return 0
