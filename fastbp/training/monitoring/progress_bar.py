"""The progress bar of a run, on a terminal or in a notebook, or a stand-in that prints lines.

Invariant: lines go to standard output, whether there is a bar or not.
"""

import contextlib
import functools
import importlib.util
import sys
import warnings

BAR_DELAY = 0.3  # seconds before a progress bar appears: short calls need none


class _Silent:
    """Stands in for the progress bar: counts nothing, prints lines plainly."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def set_description(self, text, refresh):
        pass

    def update(self, count):
        pass

    def clear(self):
        pass

    write = staticmethod(functools.partial(print, flush=True))


def progress_bar(progress, total):
    """Return a context that shows progress over `total` samples, or nothing.

    progress: True, False, or None for a bar where standard error is a terminal, and in a notebook
    that can show widgets. A text bar in a notebook would begin a new block after each line.
    """
    if progress is None:
        progress = _is_terminal() or (_in_notebook() and _has_widgets())
    if not progress or sys.stderr is None:
        return _Silent()
    tqdm = _tqdm()
    bar = tqdm(total=total, unit=" images", unit_scale=True, delay=BAR_DELAY, leave=False)

    def write(line=""):
        if sys.stdout is not None:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()  # it may be a file or a pipe, with the bar elsewhere

    bar.write = write
    return _until_the_end(bar)


@contextlib.contextmanager
def _until_the_end(bar):
    """Give a bar; where the block ends early but without an error, it has come to its end."""
    with bar:
        yield bar
        bar.total = bar.n  # else a notebook keeps it, in red


def _is_terminal():
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def _in_notebook():
    """Tell whether this process is the kernel of a notebook."""
    return "ipykernel.zmqshell" in sys.modules


def _has_widgets():
    return importlib.util.find_spec("ipywidgets") is not None


def _tqdm():
    """Return the class of tqdm for a terminal, or for a notebook."""
    if not _in_notebook():
        from tqdm import tqdm  # tqdm.auto takes longer to import

        return tqdm
    with warnings.catch_warnings():  # where widgets are missing it warns, and is a text bar
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
