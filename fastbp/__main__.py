"""The command line: fastbp train, evaluate, predict, book, warmup.

Law: results go to standard output, everything else to standard error; an error is one line and
exit status 2.
"""

import argparse
import contextlib
import math
import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np

from fastbp import __version__, mnist_loader, network, network2
from fastbp.data import answers, arguments, datasets, files, npz
from fastbp.training import checkpoint, engine, signals
from fastbp.training.progress_bar import progress_bar

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
SIZES = [784, 30, 10]  # unless --sizes says otherwise; data of another form get other ends
DATA_HELP = (
    "auto: MNIST from FASTBP_DATA, ./mnist.pkl.gz, ../data, the cache or a download, else the "
    "synthetic digits; synthetic; or a folder or file (default: auto)"
)


def main(argv=None):
    """Run the command line. Return the exit status: 0; 2 for an error; 130 after Ctrl-C, 143 after
    SIGTERM."""
    options = _parser().parse_args(argv)
    with _signals(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *where: _say(
            f"warning: {arguments.one_line(message)}"
        )
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
        _say(f"error: {arguments.one_line(error)}")
        return 2
    except (KeyboardInterrupt, _Terminated) as reason:
        path = getattr(options, "checkpoint", None)
        there = path is not None and os.path.exists(path)
        kept = f"; the same with --checkpoint {path} --resume goes on" if there else ""
        terminated = isinstance(reason, _Terminated)
        _say(("terminated" if terminated else "interrupted") + kept)
        return 143 if terminated else 130
    return 0


class _Terminated(BaseException):
    """SIGTERM has come."""


def _terminate(number, frame):
    raise _Terminated


@contextlib.contextmanager
def _signals():
    """Have SIGTERM, and SIGHUP unless it is ignored, raise _Terminated meanwhile."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in signals.NUMBERS[1:]:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


CHAPTER_3 = (
    "cost", "lmbda", "l1", "activation", "momentum", "dropout", "schedule", "early_stopping", "init"
)  # fmt: skip


def _train(options):
    chapter_3 = any(getattr(options, name) is not None for name in CHAPTER_3)
    options.eta = (0.5 if chapter_3 else 3.0) if options.eta is None else options.eta
    epochs = arguments.check_count("epochs", options.epochs, 0)
    m = arguments.check_count("mini_batch_size", options.mini_batch_size, 1)
    arguments.check_rate("eta", options.eta, np.dtype(options.dtype))
    for name, below in (("lmbda", None), ("l1", None), ("momentum", 1), ("dropout", 1)):
        if getattr(options, name) is not None:  # said at once, and not after reading the data
            arguments.check_range(name, getattr(options, name), np.dtype(options.dtype), 0, below)
    if options.save is not None:
        files.check_writable(options.save)
    if options.checkpoint is not None:
        _check_checkpoint(options)
    net = _new_network(options, options.sizes or SIZES, chapter_3)
    lasting = dict(
        on_divergence=options.on_divergence, checkpoint=options.checkpoint,
        checkpoint_every=options.checkpoint_every, resume=options.resume,
    )  # fmt: skip
    # What is wrong with them is said now, and not after reading the data.
    checkpoint.Keeper(options.checkpoint, options.checkpoint_every, options.resume)
    plan = net._plan
    compiling = _Compiling(engine.warm_up, plan, net.dtype)

    training, validation, test, name = _data(options.data, options.transpose)
    n, n_test = len(training[1]), len(test[1])
    sizes = options.sizes or _sizes_for((training, validation, test))
    if sizes != list(plan.sizes):
        net = _new_network(options, sizes, chapter_3)
        plan = net._plan
    datasets.training_arrays(training, plan, net.dtype)  # what does not fit is said at once
    _say(f"{name}: {n:,} training and {n_test:,} test images; network {sizes}")
    compiling.wait()

    began, behind = time.perf_counter(), _epochs_behind(options)
    try:
        if chapter_3:
            epochs = _SGD_2(net, options, training, validation, lasting)
        else:
            net.SGD(training, epochs, m, options.eta, test_data=test, **lasting)
    except (KeyboardInterrupt, _Terminated):
        _save(net, options)
        raise
    _save(net, options)
    seconds = (time.perf_counter() - began) / max(epochs - behind, 1)

    if chapter_3:
        print(f"accuracy on the test images: {net.accuracy(test) / n_test:.2%}")
        if epochs > behind:
            print(f"{seconds:.3f} s per epoch, monitoring included: {n / seconds:,.0f} samples/s")
    elif net.history:
        best = int(np.argmax(net.history))
        print(
            f"accuracy on the test images: {net.history[-1] / n_test:.2%} at the end, "
            f"{net.history[best] / n_test:.2%} at best (epoch {best})"
        )
        if epochs > behind:
            print(f"{seconds:.3f} s per epoch, evaluation included: {n / seconds:,.0f} samples/s")
    print(f"compiling, or reading compiled code from the cache, took {compiling.seconds:.1f} s")


def _save(net, options):
    if options.save is not None:
        net.save(options.save)
        _say(f"saved to {options.save}")


def _check_checkpoint(options):
    """Raise ValueError before a checkpoint takes the place of something else."""
    path = options.checkpoint
    if options.save is not None and os.path.realpath(options.save) == os.path.realpath(path):
        raise ValueError(f"--save and --checkpoint are both {path}: give them files of their own")
    if os.path.exists(path) and not options.resume:
        raise ValueError(f"{path} exists: --resume goes on with it; to begin anew, remove it")


def _epochs_behind(options):
    """Return how many epochs a checkpoint has behind it, and say so; 0 if none is resumed."""
    found = checkpoint.read(options.checkpoint) if options.resume and options.checkpoint else None
    state = found[0].get("state") if found else None
    behind = state.get("epoch") if isinstance(state, dict) else None
    if not isinstance(behind, int):  # whoever uses it says what is wrong with it
        return 0
    _say(f"{options.checkpoint}: goes on after {behind} of {options.epochs} epochs")
    return behind


def _sizes_for(data):
    """Return the default sizes with as many inputs and outputs as the data need."""
    return [data[0][0].shape[1], *SIZES[1:-1], mnist_loader.count_outputs(data)]


def _new_network(options, sizes, chapter_3):
    """Return the network that the options ask for; it begins with the seed, as in the book."""
    if options.seed is not None:
        random.seed(options.seed)
        np.random.seed(options.seed)
    if chapter_3:
        net = _network2(options, sizes)
    else:
        net = network.Network(sizes, dtype=options.dtype, threads=options.threads)
    net._facts = dict(seed=options.seed, init=options.init)
    return net


def _network2(options, sizes):
    """Return the Network of chapter 3 that the options ask for."""
    cost = network2.COSTS[options.cost or "cross-entropy"]
    net = network2.Network(
        sizes, cost, activation=options.activation or "sigmoid", dtype=options.dtype,
        threads=options.threads,
    )  # fmt: skip
    if options.init == "large":
        net.large_weight_initializer()
    return net


def _SGD_2(net, options, training, validation, lasting):
    """Train by network2's SGD, watching the validation images; return how many epochs it took."""
    _, accuracies, *_ = net.SGD(
        training, options.epochs, options.mini_batch_size, options.eta, options.lmbda or 0.0,
        validation, monitor_evaluation_accuracy=True, early_stopping_n=options.early_stopping or 0,
        l1=options.l1 or 0.0, momentum=options.momentum or 0.0, dropout=options.dropout or 0.0,
        schedule=options.schedule, **lasting,
    )  # fmt: skip
    if accuracies:
        print(
            f"accuracy on the validation images: {accuracies[-1] / len(validation[1]):.2%} at the "
            f"end, {max(accuracies) / len(validation[1]):.2%} at best "
            f"(epoch {int(np.argmax(accuracies))})"
        )
    return len(accuracies)


class _Compiling(engine.CompilingThread):
    """Calls a function that compiles, at once, on a thread of its own."""

    said = False

    def __init__(self, function, *arguments, **options):
        super().__init__(function, *arguments, **options)
        self.start()

    def wait(self):
        """Wait for the end; say what is going on, once, if that takes more than a second."""
        self.join(1.0)
        if self.is_alive() and not _Compiling.said:
            _say("compiling (only the first time on a machine; then it is read from a cache) ...")
            _Compiling.said = True
        self.join()
        if self.error is not None:
            raise self.error
        return self


def _load(path, threads=None):
    """Return the network in a file, of chapter 1 (.npz) or 3 (JSON), and how it counts."""
    with open(path, "rb") as file:
        is_json = file.read(1) in (b"{", b"[", b" ", b"\n")
    if is_json:
        net = network2.load(path, threads=threads)
        return net, net.accuracy
    net = network.load(path, threads=threads)
    return net, net.evaluate


def _evaluate(options):
    _, right_answers = _load(options.model, options.threads)
    *_, test, name = _data(options.data, options.transpose)
    count, n = right_answers(test), len(test[1])
    print(f"{options.model}: {count} / {n} ({count / n:.2%}) of the test images of {name}")


def _predict(options):
    net, _ = _load(options.model)
    for path in options.images:
        output = net.feedforward(_image(path, net.sizes[0]))
        print(f"{path}: {_answer(output, net)}")


def _answer(output, net):
    """Return what predict prints of an output column (n_out, 1)."""
    activation = net.activations[-1] if isinstance(net, network2.Network) else network.OUTPUT
    if len(output) == 1 and activation not in answers.OF_ONE_NEURON:
        return f"{output[0, 0]:.6g}"
    answer = answers.answer(output, activation)
    return f"{answer} (output {output[answer if len(output) > 1 else 0, 0]:.3f})"


def _warm_up(options):
    if engine.uncached:
        raise OSError("compiled code cannot be kept: set NUMBA_CACHE_DIR to a folder of yours")
    began = time.perf_counter()
    plan = engine.plan_of((784, 30, 10))
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        _say(f"compiling: training in {dtype} ...")
        engine.warm_up(plan, dtype, everything=True)
        _say(f"compiling: training with momentum, dropout and so on in {dtype} ...")
        engine.warm_up(plan, dtype, engine.Rules(momentum=0.5), everything=True)
        _say(f"compiling: single steps and single images in {dtype} ...")
        net = network.Network([784, 30, 10], dtype=dtype)
        few = np.zeros((10, 784), np.float32), np.zeros(10, int)
        net.update_mini_batch(few, 1.0)
        net.evaluate(few)
        net.feedforward(np.zeros((784, 1)))
        net.backprop(np.zeros((784, 1)), np.zeros((10, 1)))
    print(f"everything is compiled, after {time.perf_counter() - began:.1f} s")


def _book(options):
    from fastbp import book, report

    rows = book.chosen(options.chapter, options.row, options.quick)
    seeds = range(1, 1 + arguments.check_count("seeds", options.seeds, 1))
    if options.pictures:
        report.pyplot()  # said at once, and not after the work
    for path in (options.pictures, options.save):
        if path is not None:
            files.check_writable(path)
    try:
        data = mnist_loader.load_data(None if options.data == "auto" else options.data)
    except mnist_loader.DataNotFoundError as error:
        raise OSError(
            f"the book's results are those of MNIST: {arguments.one_line(error)}"
        ) from None
    with progress_bar(None, round(sum(row.work for row in rows) * len(seeds))) as bar:
        bar.set_description("the book", refresh=False)
        how = dict(dtype=options.dtype, threads=options.threads)
        results = book.run_all(
            rows, data, seeds, **how, on_work=lambda done: bar.update(round(done))
        )
    text = book.table(rows, results) + "\n" + book.notes(rows) + book.goals(rows, results)
    text += (
        f"\nPercent right on MNIST, beside the numbers in the book; {len(seeds)} seed(s), "
        f"{options.dtype}; seconds for one seed, evaluation included. Made by `fastbp book"
        f"{' --quick' * options.quick} --seeds {len(seeds)}`.\n"
    )
    print(text, end="")
    if options.save is not None:
        if options.pictures:
            path = os.path.relpath(options.pictures, os.path.dirname(options.save) or ".")
            text += f"\n![learning curves]({path})\n"
        with files.written_atomically(options.save) as file:
            file.write(text.encode())
    if options.pictures:
        _say("learning rates and gradients, for the pictures ...")
        quick = dict(epochs=10) if options.quick else {}
        rates = book.learning_rates(data, **quick, **how)
        quick = dict(epochs=100) if options.quick else {}
        report.draw(results, rates, book.gradient_lengths(data, **quick, **how), options.pictures)
        _say(f"drawn to {options.pictures}")


def _image(path, n_in):
    """Return the pixels in a .npy file as a column (n_in, 1) of values 0..1.

    They may be values 0..1 or 0..255 of any type, which is told from the largest; where the type
    does not say the same, a line on standard error does.
    """
    try:
        with open(path, "rb") as file:
            length = os.path.getsize(path)
            shape, dtype, *_ = npz.npy_header(file, length)
            if math.prod(shape) == n_in and dtype.kind in "fiub":  # else it is not even read
                file.seek(0)
                image = npz.read_npy(file, length)
            else:
                image = None
    except ValueError as error:
        reason = files.brief(error, 300)
        raise ValueError(
            f"{path} is not an .npy file of numbers: {reason}; predict reads one image of {n_in} "
            f"numbers, as written by numpy.save('image.npy', image)"
        ) from None
    if image is None:
        raise ValueError(
            f"{path} has shape {files.brief(shape)} and dtype {dtype}, expected {n_in} numbers, "
            f"one image"
        )
    image = image.reshape(n_in, 1)
    with np.errstate(invalid="ignore"):  # some NaNs make NumPy warn
        least, greatest = image.min(), image.max()
    if not (least >= 0 and greatest <= 255):
        raise ValueError(
            f"{path} has values from {least} to {greatest}, expected 0..1 or 0..255, white ink on "
            f"black"
        )
    is_float = image.dtype.kind == "f"
    if greatest <= 1 or (is_float and greatest < 2):  # resizing may go a little beyond 1
        if greatest > 1 or (image.dtype.kind in "iu" and greatest == 1):
            _say(f"{path}: its largest value is {greatest:.9g}, so its numbers are read as 0..1")
        return image.astype(np.float64)
    if is_float:
        _say(f"{path}: its largest value is {greatest:.9g}, so its numbers are read as 0..255")
    return image.astype(np.float64) / 256  # the scale of the training images


def _data(choice, transpose):
    """Return (training, validation, test, name) for the --data and --transpose options."""
    if choice == "synthetic":
        return _synthetic()
    path, name = (None, "MNIST") if choice == "auto" else (choice, choice)
    try:
        return *_as_pixels_if_exact(path, transpose), name
    except mnist_loader.DataNotFoundError as error:
        reason = arguments.one_line(error).partition("; give load_data")[0]
        _say(f"using the built-in synthetic digits: {reason}; to use your own, --data PATH")
        return _synthetic()


def _as_pixels_if_exact(path, transpose):
    """Return load_data's sets with the images as Pixels; as floats where these are no 256ths."""
    try:
        return mnist_loader.load_data(path, pixels=True, transpose=transpose)
    except ValueError as error:
        if "pixels=True" not in str(error):
            raise
        return mnist_loader.load_data(path, transpose=transpose)


def _synthetic():
    _say("drawing 70,000 digits ...")
    return *mnist_loader.synthetic(pixels=True), "synthetic digits"


def _say(text):
    """Write a line to standard error, if there is one that takes it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"fastbp: {text}", file=sys.stderr, flush=True)


# ------------------------------------------------ options


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


def _parser():
    common = dict(formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    parser = _Parser(prog="fastbp", description=sys.modules["fastbp"].__doc__, **common)
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    train = commands.add_parser("train", help="train a network, evaluate every epoch", **common)
    train.set_defaults(command=_train)
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
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("model", metavar="MODEL", help="a file written by train --save")
    _add_data_options(evaluate.add_argument)
    evaluate.add_argument("--threads", type=int, metavar="N", help="at most N threads")

    predict = commands.add_parser("predict", help="read digits from images", **common)
    predict.set_defaults(command=_predict)
    predict.add_argument("model", metavar="MODEL", help="a file written by train --save")
    predict.add_argument("images", nargs="+", metavar="IMAGE.npy",
        help="28 x 28 or 784 values, white ink on black: 0-255 or 0-1, of any type")  # fmt: skip

    book = commands.add_parser("book", help="the book's results beside ours", **common)
    book.set_defaults(command=_book)
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
    warm_up.set_defaults(command=_warm_up)
    return parser


if __name__ == "__main__":
    sys.exit(main())
