"""The README's code runs as it stands there: the session, the command line."""

import pathlib
import re
import shlex

import numpy as np
import pytest
from helpers import run_command

from fastbp import mnist_loader
from fastbp.cli import parser

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def block(heading, language):
    """Return the first code block of a section."""
    section = README.split(f"## {heading}\n")[1] if heading else README
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL).group(1)


def test_it_is_short():
    assert README.count("\n") <= 150


def test_the_session(monkeypatch, capsys):
    """On a few digits."""
    sets = mnist_loader.synthetic(300, 50, 50, seed=1)
    monkeypatch.setattr(mnist_loader, "load_data", lambda *arguments, **options: sets)
    lines = re.findall(r"^(?:>>>|\.\.\.) (.*)$", block("", "python"), re.MULTILINE)
    exec("\n".join(lines), {})
    printed = capsys.readouterr().out
    assert re.search(r"^Epoch 29: \d+ / 50$", printed, re.MULTILINE)
    assert "Epoch 59 training complete\nAccuracy on evaluation data: " in printed


def commands():
    return [shlex.split(line, comments=True) for line in block("Command line", "sh").splitlines()]


@pytest.mark.parametrize("command", commands(), ids=lambda words: " ".join(words[1:3]))
def test_the_command_line_is_understood(command):
    assert command[0] == "fastbp"
    parser.make_parser().parse_args(command[1:])


def test_the_command_line_runs(mnist_folder, tmp_path, monkeypatch):
    """On a few images, for an epoch; but for the book's table, which has tests of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTBP_DATA", str(mnist_folder))
    np.save("image.npy", np.zeros((28, 28), np.uint8))
    for command in commands():
        if command[1] != "book":
            smaller = {"~/mnist": str(mnist_folder), "8100000": "600", "300": "3"}
            words = [smaller.get(word, word) for word in command[1:]]
            words += ["--epochs", "1"] if "--recipe" in words else []
            assert run_command(*words).returncode == 0
