"""The parser of the command line, with the options and the help text of each command."""

import argparse
import sys

from fastbp import __version__, network2
from fastbp.cli import book_command, model_commands, train_command, warmup_command

EXAMPLES = """examples:
  fastbp train                                   MNIST if it can be had, else synthetic digits
  fastbp train --seed 1 --save model.npz         the same weights every time, kept in a file
  fastbp train --sizes 784,50,20,10 --dtype float32 --eta 1.5
  fastbp train --data ~/mnist                    a folder with the IDX files
  fastbp train --data ~/emnist/emnist-letters-train-images-idx3-ubyte.gz    one of several data sets
  fastbp train --cost cross-entropy --lmbda 5 --eta 0.5 --save model.json    chapter 3
  fastbp train --epochs 300 --seed 1 --checkpoint run.npz --resume    may be stopped at any time
  fastbp train --activation relu --cost log-likelihood --momentum 0.9 --dropout 0.2 --eta 0.05
  fastbp evaluate model.npz
  fastbp book --quick                            the book's results beside ours
  fastbp warmup                                  compile everything now, e.g. in a container image
  fastbp predict model.npz image.npy             28 x 28 pixels, white ink on black: 0-255 or 0-1
"""
DATA_HELP = (
    "auto: MNIST from FASTBP_DATA, ./mnist.pkl.gz, ../data, the cache or a download, else the "
    "synthetic digits; synthetic; or a folder or file (default: auto)"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Print one line, not the usage as well."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _sizes(text):
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 784,30,10") from None


def _interval(text):
    try:
        return float(text[:-1]) if text.endswith("s") else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 30s or 5") from None


def _add_data_options(add):
    add("--data", default="auto", metavar="auto|synthetic|PATH", help=DATA_HELP)
    add("--transpose", action="store_true",
        help="exchange rows and columns of each image, as EMNIST needs it")  # fmt: skip


def make_parser():
    common = dict(formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    parser = _Parser(prog="fastbp", description=sys.modules["fastbp"].__doc__, **common)
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    train = commands.add_parser("train", help="train a network, evaluate every epoch", **common)
    train.set_defaults(command=train_command.train)
    add = train.add_argument
    _add_data_options(add)
    add("--sizes", type=_sizes, metavar="784,30,10",
        help="neurons per layer (default: 784,30,10, or outputs as the data need)")  # fmt: skip
    add("--epochs", type=int, default=30, metavar="30", help="(default: 30)")
    add("--mini-batch-size", type=int, default=10, metavar="10", help="(default: 10)")
    add("--eta", type=float, metavar="3.0", help="learning rate (default: 3.0; 0.5 for chapter 3)")
    add("--seed", type=int, metavar="N", help="seed of random and numpy.random, as in the book")
    add("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")
    add("--threads", type=int, metavar="N", help="at most N threads (default: all)")
    add("--save", metavar="model.npz",
        help="write the trained network to this file (for chapter 3: JSON)")  # fmt: skip
    add("--checkpoint", metavar="PATH",
        help="write the state of the run to this file, now and then and at the end; the one before "
        "it is kept as PATH.previous")  # fmt: skip
    add("--checkpoint-every", type=_interval, default=30.0, metavar="30s",
        help="seconds, e.g. 30s, or epochs, e.g. 5 (default: 30s)")  # fmt: skip
    add("--resume", action="store_true",
        help="go on where the checkpoint stands, if there is one, and print its lines again "
        "(--epochs: in all)")  # fmt: skip
    add("--on-divergence", choices=("stop", "continue"), default="stop",
        help="what to do when weights become infinite or NaN (default: stop)")  # fmt: skip
    chapter_3 = train.add_argument_group("chapter 3", "any of these trains network2's Network")
    add = chapter_3.add_argument
    add("--cost", choices=network2.COSTS, help="(default: cross-entropy)")
    add("--init", choices=("default", "large"), help="initial weights (default: default)")
    add("--lmbda", type=float, metavar="5.0", help="L2 regularisation (default: 0)")
    add("--l1", type=float, metavar="5.0", help="L1 regularisation (default: 0)")
    add("--activation", choices=("sigmoid", "tanh", "relu", "linear"),
        help="of the hidden layers (default: sigmoid)")  # fmt: skip
    add("--momentum", type=float, metavar="0.9", help="(default: 0)")
    add("--dropout", type=float, metavar="0.5", help="share of hidden neurons (default: 0)")
    add("--schedule", choices=("halve",),
        help="halve eta after 10 epochs (or --early-stopping N) without improvement")  # fmt: skip
    add("--early-stopping", type=int, metavar="N",
        help="end after N epochs without improvement on the validation images")  # fmt: skip

    evaluate = commands.add_parser("evaluate", help="count right answers of a model", **common)
    evaluate.set_defaults(command=model_commands.evaluate)
    evaluate.add_argument("model", metavar="MODEL", help="a file written by train --save")
    _add_data_options(evaluate.add_argument)
    evaluate.add_argument("--threads", type=int, metavar="N", help="at most N threads")

    predict = commands.add_parser("predict", help="read digits from images", **common)
    predict.set_defaults(command=model_commands.predict)
    predict.add_argument("model", metavar="MODEL", help="a file written by train --save")
    predict.add_argument("images", nargs="+", metavar="IMAGE.npy",
        help="28 x 28 or 784 values, white ink on black: 0-255 or 0-1, of any type")  # fmt: skip

    book = commands.add_parser("book", help="the book's results beside ours", **common)
    book.set_defaults(command=book_command.book_table)
    add = book.add_argument
    add("--chapter", type=int, metavar="N", help="only this chapter's rows: 1, 3, 5 or 6")
    add("--row", metavar="NAME", help="only this row")
    add("--seeds", type=int, default=3, metavar="3", help="seeds 1 .. N (default: 3)")
    add("--quick", action="store_true", help="a part of it, in about a minute for one seed")
    add("--data", default="auto", metavar="auto|PATH", help="where MNIST is (default: auto)")
    add("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")
    add("--threads", type=int, metavar="N", help="at most N threads (default: all)")
    add("--save", metavar="book.md", help="write the table to this file, too")
    add("--pictures", metavar="book.png", help="draw the learning curves (extra: report)")

    warm_up = commands.add_parser("warmup", help="compile ahead of the first use", **common)
    warm_up.set_defaults(command=warmup_command.warm_up)
    return parser
