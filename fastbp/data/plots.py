"""matplotlib's Figure, where it is installed, and figures in files. Extra: report."""

import os

from fastbp.data import files


def figure_class(what, advice=""):
    """Return the class Figure, or raise ImportError naming the extra.

    what: needs it, for the error; advice: that follows in it.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps every figure
    except ImportError:
        raise ImportError(
            f"{what} needs matplotlib: pip install 'fastbp[report]'{advice}"
        ) from None
    return Figure


def save(figure, path, **how):
    """Write a figure to a file, whole or not at all; the ending of path tells the format.

    how: arguments of savefig. Raises OSError, and ValueError for an unknown format.
    """
    with files.write_atomically(path) as file:
        figure.savefig(file, format=format_of(path), **how)


def format_of(path):
    """Return the format that the ending of a file's name tells, png if it has none."""
    return os.path.splitext(os.fspath(path))[1].lstrip(".").lower() or "png"
