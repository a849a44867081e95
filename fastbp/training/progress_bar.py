"""The progress bar of a run, on standard error, or a stand-in that only prints lines.

Invariant: lines go to standard output, whether there is a bar or not.
"""

import contextlib
import functools
import sys

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
    """Return a context that shows progress over `total` samples on standard error, or nothing.

    progress: True, False, or None for a bar where standard error is a terminal.
    """
    if progress is None:
        with contextlib.suppress(ValueError):  # it is closed
            progress = sys.stderr is not None and sys.stderr.isatty()
    if not progress or sys.stderr is None:
        return _Silent()
    from tqdm import tqdm

    bar = tqdm(total=total, unit=" images", unit_scale=True, delay=BAR_DELAY, leave=False)

    def write(line=""):
        if sys.stdout is not None:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()  # it may be a file or a pipe, with the bar elsewhere

    bar.write = write
    return bar
