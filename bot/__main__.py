"""`pupil`: the command line's entry, and the place where every failure becomes one sentence and an exit code.

0: done · 1: it could not be done, the sentence says why · 2: the command was written wrongly · 130: stopped (Ctrl-C).
Nothing heavy is imported until a command needs it, so that `pupil --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from storage.errors import PupilError


def main(arguments: Sequence[str] | None = None) -> None:
    # Before NumPy is imported: its threads would compete with the ones that answer (a refit took 5 times as long).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a test's stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    from bot.cli.commands import pupil

    sys.exit(run(pupil, arguments))


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Runs one command; returns the exit code and has said on stderr what went wrong, never with a traceback."""
    try:
        result = command.main(args=arguments, prog_name="pupil", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PupilError as error:
        return _say(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:  # `pupil ... | head`
        sys.stderr.close()
        return 1
    except Exception as error:
        return _say(_keep_traceback(error))


def _say(sentence: str) -> int:
    click.echo(f"Error: {sentence}", err=True)
    return 1


def _keep_traceback(error: Exception) -> str:
    """Writes the traceback to a file of its own and returns the sentence that names it."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="pupil-", suffix=".txt", delete=False, encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return f"Something went wrong on our side ({type(error).__name__}: {error})."
    return f"Something went wrong on our side. The details are in {file.name}; please report them."


if __name__ == "__main__":
    main()
