"""The files that commands write: none of them replaces data, or a file that the command reads."""

import os

from fastbp.data import files
from fastbp.data.readers import find
from fastbp.report import picture_files
from fastbp.training.checkpoint import PREVIOUS

# The options of all commands whose values are files.
READ = "model", "data", "path", "history", "images"
PICTURES = "sheet", "plot", "show", "pictures"
WRITTEN = "save", "checkpoint", "output", *PICTURES


def check_outputs(options):
    """Raise ValueError or OSError for a file that must not, or cannot, be written."""
    read, written = _paths_read(options), {}
    for name in WRITTEN:
        path = getattr(options, name, None)
        if path is None:
            continue
        real = os.path.realpath(path)
        is_data = find.is_data_name(os.path.basename(real))
        if os.path.isfile(real) and (is_data or real in read):
            what = "a file that is read" if real in read else "a file of a data set"
            raise ValueError(f"--{name} {path} would replace {what}, expected another name")
        for file in (real, real + PREVIOUS) if name == "checkpoint" else (real,):
            other = written.setdefault(file, name)
            if other != name:
                raise ValueError(
                    f"--{other} and --{name} both write {file}: give them files of their own"
                )
        check = picture_files.check_picture_name if name in PICTURES else files.check_writable
        check(path)


def _paths_read(options):
    """Return the real paths of the files and folders that a command reads."""
    paths = []
    for name in READ:
        value = getattr(options, name, None) or []
        paths += [value] if isinstance(value, str) else value
    return {os.path.realpath(os.path.expanduser(path)) for path in paths}
