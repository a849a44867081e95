"""fastbp train: train a network of chapter 1 or 3, and save it.

Invariant: options that are wrong whatever the data are reported before the data are read.
"""

import os
import random
import time

import numpy as np

from fastbp import mnist_loader, network, network2
from fastbp.cli.console import BackgroundCompilation, Terminated, log
from fastbp.cli.data_options import read_data
from fastbp.cli.rank_options import joined_ranks, sgd_of
from fastbp.data import arguments, datasets, files
from fastbp.data.file_rows import ReadError
from fastbp.training import checkpoint, engine
from fastbp.training.learning_rates import LearningRates

SIZES = [784, 30, 10]  # the default; the first and the last are adapted to the data
CHAPTER_3 = (
    "cost", "lmbda", "l1", "activation", "momentum", "dropout", "schedule", "warmup",
    "early_stopping", "init",
)  # fmt: skip


def train(options):
    """Train a network and print its accuracy; save it, also after Ctrl-C and SIGTERM."""
    with joined_ranks(options):
        _train(options)


def _train(options):
    """Train on the processes of options.ranks."""
    chapter_3 = any(getattr(options, name) is not None for name in CHAPTER_3)
    options.eta = (0.5 if chapter_3 else 3.0) if options.eta is None else options.eta
    options.ranks.together(lambda: _check_options(options))
    net = _new_network(options, options.sizes or SIZES, chapter_3)
    compilation = BackgroundCompilation(engine.warm_up, net._plan, net.dtype)

    sets = options.ranks.from_root(lambda: read_data(options.data, options.transpose))
    training, validation, test, name = sets
    sizes = options.sizes or _sizes_for((training, validation, test))
    if sizes != list(net._plan.sizes):
        net = _new_network(options, sizes, chapter_3)
    _check_data(training, net, options)  # raises without waiting to compile
    n, n_test = len(training[1]), len(test[1])
    log(f"{name}: {n:,} training and {n_test:,} test images; network {sizes}")
    compilation.wait()

    start, epochs_before = time.perf_counter(), _epochs_before(options)
    try:
        if chapter_3:
            epochs = _train_chapter_3(net, options, training, validation)
        else:
            epochs = _train_chapter_1(net, options, training, test)
    except (KeyboardInterrupt, Terminated, ReadError):
        _save(net, options)
        raise
    _save(net, options)
    seconds = (time.perf_counter() - start) / max(epochs - epochs_before, 1)

    _print_accuracy(net, test, chapter_3)
    if epochs > epochs_before and (chapter_3 or net.history):
        included = "monitoring" if chapter_3 else "evaluation"
        print(f"{seconds:.3f} s per epoch, {included} included: {n / seconds:,.0f} samples/s")
    print(f"compiling, or reading compiled code from the cache, took {compilation.seconds:.1f} s")


def _check_data(training, net, options):
    """Raise for training data that do not fit the network."""
    streams = "always" if options.shuffle == "blocks" else "auto"
    datasets.training_arrays(training, net._plan, net.dtype, streams=streams)


def _check_options(options):
    """Raise for options that are wrong whatever the data are; make the Checkpointer."""
    dtype = np.dtype(options.dtype)
    arguments.check_count("epochs", options.epochs, 0)
    arguments.check_count("mini_batch_size", options.mini_batch_size, 1)
    arguments.check_rate("eta", options.eta, dtype)
    for name, upper_bound in (("lmbda", None), ("l1", None), ("momentum", 1), ("dropout", 1)):
        if getattr(options, name) is not None:
            arguments.check_range(name, getattr(options, name), dtype, 0, upper_bound)
    options.warmup = 0 if options.warmup is None else options.warmup
    LearningRates(dtype, options.eta, options.epochs, options.schedule, options.warmup, True)
    if options.save is not None:
        files.check_writable(options.save)
    if options.checkpoint is not None:
        _check_checkpoint(options)
    config = {"seed": options.seed, "init": options.init}
    options.checkpointer = checkpoint.Checkpointer(
        options.checkpoint, options.checkpoint_every, options.resume,
        {name: value for name, value in config.items() if value is not None},
    )  # fmt: skip


def _print_accuracy(net, test, chapter_3):
    """Print the accuracy on the test images; for chapter 1 from the history, if there is one."""
    n = len(test[1])
    if chapter_3:
        print(f"accuracy on the test images: {net.accuracy(test) / n:.2%}")
    elif net.history:
        best = int(np.argmax(net.history))
        print(
            f"accuracy on the test images: {net.history[-1] / n:.2%} at the end, "
            f"{net.history[best] / n:.2%} at best (epoch {best})"
        )


def _save(net, options):
    """Save the network, if a file is given."""
    if options.save is not None:
        net.save(options.save)
        log(f"saved to {options.save}")


def _check_checkpoint(options):
    """Raise ValueError if the checkpoint would overwrite a model, or another checkpoint."""
    path = options.checkpoint
    if options.save is not None and os.path.realpath(options.save) == os.path.realpath(path):
        raise ValueError(f"--save and --checkpoint are both {path}: give them files of their own")
    if os.path.exists(path) and not options.resume:
        raise ValueError(f"{path} exists: --resume goes on with it; to begin anew, remove it")


def _epochs_before(options):
    """Return and log how many epochs are complete in the checkpoint that is resumed, else 0."""
    found = checkpoint.read(options.checkpoint) if options.resume and options.checkpoint else None
    state = found[0].get("state") if found else None
    epochs = state.get("epoch") if isinstance(state, dict) else None
    if not isinstance(epochs, int):  # SGD, which reads the checkpoint next, raises the error
        return 0
    log(f"{options.checkpoint}: goes on after {epochs} of {options.epochs} epochs")
    return epochs


def _sizes_for(data):
    """Return the default sizes with as many inputs and outputs as the data need."""
    return [data[0][0].shape[1], *SIZES[1:-1], mnist_loader.count_outputs(data)]


def _new_network(options, sizes, chapter_3):
    """Return the network that the options describe, drawn after seeding, as in the book."""
    if options.seed is not None:
        random.seed(options.seed)
        np.random.seed(options.seed)
    if chapter_3:
        net = _network2(options, sizes)
    else:
        net = network.Network(sizes, dtype=options.dtype, threads=options.threads)
    return net


def _network2(options, sizes):
    """Return the Network of chapter 3 that the options describe."""
    cost = network2.COSTS[options.cost or "cross-entropy"]
    net = network2.Network(
        sizes, cost, activation=options.activation or "sigmoid", dtype=options.dtype,
        threads=options.threads,
    )  # fmt: skip
    if options.init == "large":
        net.large_weight_initializer()
    elif options.init == "he":
        net.he_weight_initializer()
    return net


def _run_options(options):
    """Return the arguments of SGD about divergence, checkpoints and what is shown."""
    return dict(
        on_divergence=options.on_divergence, checkpoint=options.checkpointer,
        verbose=not options.quiet, progress=False if options.quiet else None,
        shuffle=options.shuffle,
    )  # fmt: skip


def _train_chapter_1(net, options, training, test):
    """Train by network's SGD, evaluating on the test images; return the number of epochs."""
    sgd_of(net, options)(
        training, options.epochs, options.mini_batch_size, options.eta, test_data=test,
        **_run_options(options),
    )  # fmt: skip
    return options.epochs


def _train_chapter_3(net, options, training, validation):
    """Train by network2's SGD, monitoring the validation images; return the number of epochs."""
    _, accuracies, *_ = sgd_of(net, options)(
        training, options.epochs, options.mini_batch_size, options.eta, options.lmbda or 0.0,
        validation, monitor_evaluation_accuracy=True, early_stopping_n=options.early_stopping or 0,
        l1=options.l1 or 0.0, momentum=options.momentum or 0.0, dropout=options.dropout or 0.0,
        schedule=options.schedule, warmup=options.warmup, **_run_options(options),
    )  # fmt: skip
    if accuracies:
        print(
            f"accuracy on the validation images: {accuracies[-1] / len(validation[1]):.2%} at the "
            f"end, {max(accuracies) / len(validation[1]):.2%} at best "
            f"(epoch {int(np.argmax(accuracies))})"
        )
    return len(accuracies)
