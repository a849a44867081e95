"""Functions that several test modules call: seeds, pairs, and the command line."""

import contextlib
import io
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastbp.cli import main

# ------------------------------------------------ networks and pairs


def seed_both(seed=1):
    """Seed the two generators that the book draws from."""
    random.seed(seed)
    np.random.seed(seed)


def columns(X, Y):
    """Return the book's pairs of columns for the rows of two arrays."""
    return [(x[:, None], y[:, None]) for x, y in zip(X, Y)]


def assert_equal_arrays(ours, theirs):
    """Raise AssertionError unless two sequences hold arrays of equal bits."""
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------ the command line


def run_command(*arguments, **environment):
    """Run the command line in this process; return its status, output and messages."""
    arguments, out, err = [*map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        warnings.simplefilter("default")  # as in a process of its own, not as pytest has it
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse's
            status = end.code
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def run_process(*arguments, **environment):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastbp", *map(str, arguments)],
        capture_output=True, text=True, env=os.environ | environment, timeout=300,
    )  # fmt: skip


def refused(*arguments, run=run_command, **environment):
    """Return the one line that a bad call prints; its exit status is 2."""
    done = run(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]
