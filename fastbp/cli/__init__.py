"""The command line: fastbp train, evaluate, predict, and the other commands of parser.py.

Invariant: results go to standard output, everything else to standard error; an error is one line
and exit status 2.
"""

import os
import sys
import warnings

from fastbp.cli.console import Terminated, handle_signals, log
from fastbp.cli.parser import make_parser
from fastbp.data.messages import one_line


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process, sys.argv[1:].

    Returns
    -------
    int
        The exit status: 0; 1 if standard output is a closed pipe; 2 for an error; 130 after Ctrl-C;
        143 after SIGTERM or SIGHUP.

    Raises
    ------
    SystemExit
        After --help and --version, and for options that cannot be parsed.
    """
    with handle_signals(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *where: log(f"warning: {one_line(message)}")
        return _run(arguments)


def _run(arguments):
    """Run the chosen command and return the exit status."""
    options = None
    try:
        options = _parse(arguments)
        options.command(options)
        _flush()
    except BrokenPipeError:  # at exit Python would flush standard output, and fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (
        OSError, ValueError, TypeError, MemoryError, ImportError, FloatingPointError
    ) as error:  # fmt: skip
        log(f"error: {_text_of(error)}")
        return 2
    except (KeyboardInterrupt, Terminated) as reason:
        path = getattr(options, "checkpoint", None)
        written = path is not None and os.path.exists(path)
        advice = f"; the same with --checkpoint {path} --resume goes on" if written else ""
        terminated = isinstance(reason, Terminated)
        log(("terminated" if terminated else "interrupted") + advice)
        return 143 if terminated else 130
    return 0


def _parse(arguments):
    """Return the options; some print, and end the process."""
    try:
        return make_parser().parse_args(arguments)
    except SystemExit:
        _flush()
        raise


def _flush():
    if sys.stdout is not None:
        sys.stdout.flush()


def _text_of(error):
    """Return an error on one line; of the operating system, which file and why."""
    if not isinstance(error, OSError) or error.strerror is None:
        return one_line(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return one_line(f"{where}{error.strerror}")
