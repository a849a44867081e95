"""The parser of the command line, with the options and the help text of each command."""

import argparse
import sys

from fastbp import __version__, network2
from fastbp.cli import book_command, model_commands, plan_command, train_command, warmup_command
from fastbp.training import plans

EXAMPLES = """examples:
  fastbp train                                   MNIST if it can be found, else synthetic digits
  fastbp train --seed 1 --save model.npz         the same weights every time, saved to a file
  fastbp train --sizes 784,50,20,10 --dtype float32 --eta 1.5
  fastbp train --data ~/mnist                    a folder with the IDX files
  fastbp train --data ~/emnist/emnist-letters-train-images-idx3-ubyte.gz    one of several data sets
  fastbp train --cost cross-entropy --lmbda 5 --eta 0.5 --save model.json    chapter 3
  fastbp train --epochs 300 --seed 1 --checkpoint run.npz --resume    may be stopped at any time
  fastbp train --activation relu --cost log-likelihood --momentum 0.9 --dropout 0.2 --eta 0.05
  mpiexec -n 4 fastbp train --mini-batch-size 512 --eta 10    one network, on several processes
  fastbp evaluate model.npz
  fastbp book --quick                            the book's results beside ours
  fastbp plan --ranks 1,2,4,8 --mini-batch-size 512    before you rent machines
  fastbp warmup                                  compile everything now, e.g. in a container image
  fastbp predict model.npz image.npy             28 x 28 pixels, white ink on black: 0-255 or 0-1
"""
DATA_HELP = (
    "auto: MNIST from FASTBP_DATA, ./mnist.pkl.gz, ../data, the cache or a download, else the "
    "synthetic digits; synthetic; or a folder or file (default: auto)"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Exit with status 2 and one line on standard error, without the usage."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _parse_sizes(text):
    """Return the list of ints in a text such as 784,30,10."""
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 784,30,10") from None


def _parse_interval(text):
    """Return seconds, a float, for a text such as 30s; epochs, an int, for one such as 5."""
    try:
        return float(text[:-1]) if text.endswith("s") else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 30s or 5") from None


def _add_data_options(add):
    """Add --data and --transpose to a command."""
    add("--data", default="auto", metavar="auto|synthetic|PATH", help=DATA_HELP)
    add("--transpose", action="store_true",
        help="exchange rows and columns of each image, as EMNIST needs it")  # fmt: skip


def _add_model(add):
    add("model", metavar="MODEL", help="a file written by train --save")


def _add_dtype(add):
    add("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")


def _add_threads(add):
    add("--threads", type=int, metavar="N", help="at most N threads (default: all)")


def make_parser():
    """Return the parser; the parsed options hold the function of the command in `command`."""
    common = dict(formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    parser = _Parser(prog="fastbp", description=sys.modules["fastbp"].__doc__, **common)
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command, add_options, summary in (
        ("train", train_command.train, _add_train_options, "train a network, evaluate every epoch"),
        ("evaluate", model_commands.evaluate, _add_evaluate_options, "count correct predictions"),
        ("predict", model_commands.predict, _add_predict_options, "read digits from images"),
        ("book", book_command.book_table, _add_book_options, "the book's results beside ours"),
        ("plan", plan_command.plan, _add_plan_options, "how much faster several processes are"),
        ("warmup", warmup_command.warm_up, lambda parser: None, "compile ahead of the first use"),
    ):
        command_parser = commands.add_parser(name, help=summary, **common)
        command_parser.set_defaults(command=command)
        add_options(command_parser)
    return parser


def _add_train_options(parser):
    """Add the options of fastbp train."""
    add = parser.add_argument
    _add_data_options(add)
    add("--sizes", type=_parse_sizes, metavar="784,30,10",
        help="neurons per layer (default: 784,30,10, or outputs as the data need)")  # fmt: skip
    add("--epochs", type=int, default=30, metavar="30", help="(default: 30)")
    add("--mini-batch-size", type=int, default=10, metavar="10", help="(default: 10)")
    add("--eta", type=float, metavar="3.0", help="learning rate (default: 3.0; 0.5 for chapter 3)")
    add("--seed", type=int, metavar="N", help="seed of random and numpy.random, as in the book")
    _add_dtype(add)
    _add_threads(add)
    add("--save", metavar="model.npz",
        help="write the trained network to this file (for chapter 3: JSON)")  # fmt: skip
    add("--checkpoint", metavar="PATH",
        help="write the state of the run to this file, regularly and at the end; the one before "
        "it is kept as PATH.previous")  # fmt: skip
    add("--checkpoint-every", type=_parse_interval, default=30.0, metavar="30s",
        help="seconds, e.g. 30s, or epochs, e.g. 5 (default: 30s)")  # fmt: skip
    add("--resume", action="store_true",
        help="continue from the checkpoint, if there is one, and print its lines again "
        "(--epochs: in all)")  # fmt: skip
    add("--quiet", action="store_true", help="print the results only: no epochs, no progress bar")
    add("--on-divergence", choices=("stop", "continue"), default="stop",
        help="what to do when weights become infinite or NaN (default: stop)")  # fmt: skip
    ranks = parser.add_argument_group("several processes", "started by mpiexec; extra: mpi")
    _add_rank_options(ranks.add_argument)
    chapter_3 = parser.add_argument_group("chapter 3", "any of these trains network2's Network")
    _add_chapter_3_options(chapter_3.add_argument)


def _add_chapter_3_options(add):
    """Add the options of fastbp train that only network2 has."""
    add("--cost", choices=network2.COSTS, help="(default: cross-entropy)")
    add("--init", choices=("default", "large"), help="initial weights (default: default)")
    add("--lmbda", type=float, metavar="5.0", help="L2 regularisation (default: 0)")
    add("--l1", type=float, metavar="5.0", help="L1 regularisation (default: 0)")
    add("--activation", choices=plans.HIDDEN_ACTIVATIONS,
        help="of the hidden layers (default: sigmoid)")  # fmt: skip
    add("--momentum", type=float, metavar="0.9", help="(default: 0)")
    add("--dropout", type=float, metavar="0.5", help="fraction of hidden neurons (default: 0)")
    add("--schedule", choices=("halve",),
        help="halve eta after 10 epochs (or --early-stopping N) without improvement")  # fmt: skip
    add("--early-stopping", type=int, metavar="N",
        help="end after N epochs without improvement on the validation images")  # fmt: skip


def _add_rank_options(add):
    """Add the options of fastbp train on several processes."""
    add("--mpi", action=argparse.BooleanOptionalAction,
        help="train one network on all processes of the job (default: if mpiexec has started "
        "several)")  # fmt: skip
    add("--chunks", type=int, metavar="12",
        help="parts of a mini-batch; best a multiple of the processes (default: 12)")  # fmt: skip
    add("--average-every", type=int, metavar="N",
        help="average the weights every N steps, instead of the gradients in each")  # fmt: skip
    add("--base-mini-batch-size", type=int, metavar="N",
        help="multiply eta by the mini-batch size divided by N")  # fmt: skip
    add("--warm-up", type=float, metavar="5",
        help="epochs in which eta rises to that (default: 5)")  # fmt: skip


def _add_plan_options(parser):
    """Add the options of fastbp plan."""
    add = parser.add_argument
    add("--ranks", type=_parse_sizes, default=[2**k for k in range(11)], metavar="1,2,4",
        help="numbers of processes, each with one thread (default: 1,2,4 ... 1024)")  # fmt: skip
    add("--sizes", type=_parse_sizes, default=[784, 800, 10], metavar="784,800,10",
        help="neurons per layer (default: 784,800,10)")  # fmt: skip
    add("--mini-batch-size", type=int, default=512, metavar="512",
        help="of all processes together (default: 512)")  # fmt: skip
    add("--samples", type=int, default=50_000, metavar="50000",
        help="training samples (default: 50000)")  # fmt: skip
    add("--latency", type=float, metavar="30",
        help="microseconds per message (default: measured under mpiexec, else 30)")  # fmt: skip
    add("--bandwidth", type=float, metavar="1.1",
        help="GB per second and process (default: measured under mpiexec, else 1.1)")  # fmt: skip
    add("--plot", metavar="plan.png", help="draw the table (extra: report)")
    _add_dtype(add)


def _add_evaluate_options(parser):
    """Add the options of fastbp evaluate."""
    _add_model(parser.add_argument)
    _add_data_options(parser.add_argument)
    _add_threads(parser.add_argument)


def _add_predict_options(parser):
    """Add the options of fastbp predict."""
    _add_model(parser.add_argument)
    parser.add_argument("images", nargs="+", metavar="IMAGE.npy",
        help="28 x 28 or 784 values, white ink on black: 0-255 or 0-1, of any type")  # fmt: skip


def _add_book_options(parser):
    """Add the options of fastbp book."""
    add = parser.add_argument
    add("--chapter", type=int, metavar="N", help="only this chapter's rows: 1, 3, 5 or 6")
    add("--row", metavar="NAME", help="only this row")
    add("--seeds", type=int, default=3, metavar="3", help="seeds 1 .. N (default: 3)")
    add("--quick", action="store_true", help="some of the rows, in about a minute for one seed")
    add("--data", default="auto", metavar="auto|PATH", help="where MNIST is (default: auto)")
    _add_dtype(add)
    _add_threads(add)
    add("--save", metavar="book.md", help="write the table to this file, too")
    add("--pictures", metavar="book.png", help="draw the learning curves (extra: report)")
