"""The parser of the command line, made of what the modules of the commands add."""

import argparse
import sys

from fastbp import __version__
from fastbp.cli import (
    book_command,
    data_command,
    expand_command,
    generate_command,
    model_commands,
    plan_command,
    report_command,
    train_command,
    train_options,
    warmup_command,
)
from fastbp.cli.completion import SHELLS, PrintCompletion

EXAMPLES = """examples:
  fastbp train                                   MNIST if it can be found, else synthetic digits
  fastbp train --seed 1 --save model.npz         the same weights every time, saved to a file
  fastbp train --sizes 784,50,20,10 --dtype float32 --eta 1.5
  fastbp train --data ~/mnist                    a folder with the IDX files
  fastbp train --data ~/emnist/emnist-letters-train-images-idx3-ubyte.gz    one of several data sets
  fastbp train --cost cross-entropy --lmbda 5 --eta 0.5 --save model.json    chapter 3
  fastbp train --epochs 300 --seed 1 --checkpoint run.npz --resume    may be stopped at any time
  fastbp train --activation relu --cost log-likelihood --momentum 0.9 --dropout 0.2 --eta 0.05
  fastbp train --activation relu --init he --momentum 0.9 --eta 0.01 --schedule geometric:0.01
  mpiexec -n 2 fastbp train --mini-batch-size 512 --sizes 784,800,10    on several processes
  fastbp plan --ranks 1,2,4,8 --mini-batch-size 512    before you rent machines
  fastbp train --list-recipes                    settings after those of papers
  fastbp train --recipe simard-2003 --seed 1     by one of them, on deformed digits
  fastbp evaluate model.npz
  fastbp data --sheet digits.png                 which data set is used, why, and what is in it
  fastbp expand --deform 9 --sheet sheet.png     deformed digits, to look at; see --help
  fastbp report model.npz -o report.html         a page with its figures, on which one can draw
  fastbp expand --count 8100000 --save deformed  more deformed digits than fit in memory
  fastbp generate --count 8100000 -o digits      synthetic digits, more than fit in memory
  fastbp book --quick                            the book's results beside ours
  fastbp warmup                                  compile everything now, e.g. in a container image
  fastbp predict model.npz photo.jpg --show seen.png    a digit on paper (extra: report)
  fastbp predict model.npz image.npy             28 x 28 pixels, white ink on black: 0-255 or 0-1
"""
# What a command does, in words; the function that adds its options; the function that does it.
COMMANDS = {
    "train": (
        "train a network, evaluate every epoch",
        train_options.add_options,
        train_command.train,
    ),
    "evaluate": (
        "count correct predictions",
        model_commands.add_evaluate_options,
        model_commands.evaluate,
    ),
    "predict": (
        "read digits from images",
        model_commands.add_predict_options,
        model_commands.predict,
    ),
    "data": ("which data, and why", data_command.add_options, data_command.describe_data),
    "expand": ("write more training data", expand_command.add_options, expand_command.expand),
    "generate": (
        "write any number of synthetic digits",
        generate_command.add_options,
        generate_command.generate,
    ),
    "plan": ("how much faster several processes are", plan_command.add_options, plan_command.plan),
    "report": ("write a page about a network", report_command.add_options, report_command.report),
    "book": ("the book's results beside ours", book_command.add_options, book_command.book_table),
    "warmup": (
        "compile ahead of the first use",
        warmup_command.add_options,
        warmup_command.warm_up,
    ),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Exit with status 2 and one line on standard error, without the usage."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def make_parser():
    """Return the parser; the parsed options hold the function of the command in `command`."""
    common = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = _Parser(
        prog="fastbp", description=sys.modules["fastbp"].__doc__, epilog=EXAMPLES, **common
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    parser.add_argument("--print-completion", action=PrintCompletion, choices=SHELLS,
        help="print a script for completion in this shell (extra: completion)")  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, (summary, add_options, command) in COMMANDS.items():
        command_parser = commands.add_parser(
            name, help=summary, description=summary, epilog=_examples_of(name), **common
        )
        command_parser.set_defaults(command=command)
        add_options(command_parser)
    return parser


def _examples_of(command):
    """Return the examples of a command, as text."""
    lines = EXAMPLES.splitlines()
    return "\n".join([lines[0], *(line for line in lines if f"fastbp {command} " in line)])
