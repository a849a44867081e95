"""The command line: fastbp train, evaluate, predict, book, warmup.

Invariant: results go to standard output, everything else to standard error; an error is one line
and exit status 2.
"""

import os
import sys
import warnings

from fastbp.cli.console import Terminated, handle_signals, say
from fastbp.cli.parser import make_parser
from fastbp.data.arguments import one_line


def main(arguments=None):
    """Run the command line. Return the exit status: 0; 2 for an error; 130 after Ctrl-C, 143 after
    SIGTERM."""
    options = make_parser().parse_args(arguments)
    with handle_signals(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *where: say(f"warning: {one_line(message)}")
        return _run(options)


def _run(options):
    try:
        options.command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (
        OSError, ValueError, TypeError, MemoryError, ImportError, FloatingPointError
    ) as error:  # fmt: skip
        say(f"error: {one_line(error)}")
        return 2
    except (KeyboardInterrupt, Terminated) as reason:
        path = getattr(options, "checkpoint", None)
        there = path is not None and os.path.exists(path)
        kept = f"; the same with --checkpoint {path} --resume goes on" if there else ""
        terminated = isinstance(reason, Terminated)
        say(("terminated" if terminated else "interrupted") + kept)
        return 143 if terminated else 130
    return 0
