"""fastbp train: train a network of chapter 1 or 3, and save it.

Invariant: what is wrong with an option by itself is an error before any data are read.
"""

import os
import random
import time

import numpy as np

from fastbp import mnist_loader, network, network2
from fastbp.cli.console import Compiling, Terminated, say
from fastbp.cli.data_options import read_data
from fastbp.data import arguments, datasets, files
from fastbp.training import checkpoint, engine

SIZES = [784, 30, 10]  # unless --sizes says otherwise; data of another form get other ends
CHAPTER_3 = (
    "cost", "lmbda", "l1", "activation", "momentum", "dropout", "schedule", "early_stopping", "init"
)  # fmt: skip


def train(options):
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
    config = {k: v for k, v in dict(seed=options.seed, init=options.init).items() if v is not None}
    checkpointer = checkpoint.Checkpointer(
        options.checkpoint, options.checkpoint_every, options.resume, config
    )
    lasting = dict(on_divergence=options.on_divergence, checkpoint=checkpointer)
    plan = net._plan
    compiling = Compiling(engine.warm_up, plan, net.dtype)

    training, validation, test, name = read_data(options.data, options.transpose)
    n, n_test = len(training[1]), len(test[1])
    sizes = options.sizes or _sizes_for((training, validation, test))
    if sizes != list(plan.sizes):
        net = _new_network(options, sizes, chapter_3)
        plan = net._plan
    datasets.training_arrays(training, plan, net.dtype)  # what does not fit is said at once
    say(f"{name}: {n:,} training and {n_test:,} test images; network {sizes}")
    compiling.wait()

    began, behind = time.perf_counter(), _epochs_behind(options)
    try:
        if chapter_3:
            epochs = _SGD_2(net, options, training, validation, lasting)
        else:
            net.SGD(training, epochs, m, options.eta, test_data=test, **lasting)
    except (KeyboardInterrupt, Terminated):
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
        say(f"saved to {options.save}")


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
    say(f"{options.checkpoint}: goes on after {behind} of {options.epochs} epochs")
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
