"""fastbp train: train a network of chapter 1 or 3, and save it."""

import random
import time

import numpy as np

from fastbp import mnist_loader, network, network2
from fastbp.cli import train_settings
from fastbp.cli.console import BackgroundCompilation, log
from fastbp.cli.data_options import join_sets, read_on_all_ranks
from fastbp.cli.rank_options import joined_ranks, sgd_of
from fastbp.data import datasets
from fastbp.training.compute import engine
from fastbp.training.compute.rules import NO_RULES, Rules


def train(options):
    """Train a network and print its accuracy; save it, also if Ctrl-C or an error ends the run."""
    with joined_ranks(options):
        _train(options)


def _train(options):
    """Train on the processes of options.ranks."""
    train_settings.complete(options)
    options.ranks.together(lambda: train_settings.check(options))
    net = _new_network(options, options.sizes or [784, *options.hidden, 10])
    rules = Rules(l2=1.0) if _has_rules(options) else NO_RULES  # any rule: the same code
    compilation = BackgroundCompilation(engine.warm_up, net._plan, net.dtype, rules)

    training, validation, test, name = read_on_all_ranks(options)
    sizes = options.sizes or _sizes_for((training, validation, test), options.hidden)
    if options.final:
        training, validation = join_sets(training, validation), None
    if sizes != list(net._plan.sizes):
        net = _new_network(options, sizes)
    _check_data(training, net, options)  # raises without waiting to compile
    n, n_test = len(training[1]), len(test[1])
    log(f"{name}: {n:,} training and {n_test:,} test images; network {sizes}")
    compilation.wait()

    epochs_before, start = _epochs_before(options), time.perf_counter()
    drawn = net.weights  # SGD binds another list
    try:
        if options.chapter_3:
            epochs = _train_chapter_3(net, options, training, validation)
        else:
            epochs = _train_chapter_1(net, options, training, test)
    except BaseException:
        if net.weights is not drawn:
            _save(net, options)
        raise
    seconds = (time.perf_counter() - start) / max(epochs - epochs_before, 1)
    _save(net, options)

    _print_accuracy(net, test, options, is_mnist=name == "MNIST")
    if epochs > epochs_before and (options.chapter_3 or net.history):
        included = "monitoring" if options.chapter_3 else "evaluation"
        print(f"{seconds:.3f} s per epoch, {included} included: {n / seconds:,.0f} samples/s")
    print(f"compiling, or reading compiled code from the cache, took {compilation.seconds:.1f} s")


def _has_rules(options):
    """Tell whether a step does more than follow the gradient: other code is compiled for it."""
    names = "lmbda", "l1", "momentum", "dropout", "max_norm"
    return options.chapter_3 and any(getattr(options, name) for name in names)


def _check_data(training, net, options):
    """Raise for training data that do not fit the network."""
    streams = "always" if options.shuffle == "blocks" else "auto"
    datasets.training_arrays(training, net._plan, net.dtype, streams=streams)


def _print_accuracy(net, test, options, is_mnist):
    """Print the accuracy on the test images; for chapter 1 from the history, if there is one."""
    n = len(test[1])
    if options.chapter_3:
        accuracy = net.accuracy(test) / n
        print(f"accuracy on the test images: {accuracy:.2%}")
        if options.as_in_source and is_mnist:
            print(
                f"test error: {1 - accuracy:.2%}; {options.paper:.2f}% in the source, "
                f"{options.source}"
            )
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


def _epochs_before(options):
    """Return and log how many epochs are complete in the checkpoint that is resumed, else 0."""
    position = options.checkpointer.peek()
    if position.shuffle is not None:  # there is a run to resume
        log(f"{options.checkpoint}: goes on after {position.epoch} of {options.epochs} epochs")
    return position.epoch


def _sizes_for(data, hidden):
    """Return the sizes of a network with as many inputs and outputs as the data need."""
    return [data[0][0].shape[1], *hidden, mnist_loader.count_outputs(data)]


def _new_network(options, sizes):
    """Return the network that the options describe, drawn after seeding, as in the book."""
    if options.seed is not None:
        random.seed(options.seed)
        np.random.seed(options.seed)
    if not options.chapter_3:
        return network.Network(sizes, dtype=options.dtype, threads=options.threads)
    net = network2.Network(
        sizes, network2.COSTS[options.cost], activation=options.activation, dtype=options.dtype,
        threads=options.threads,
    )  # fmt: skip
    net._initialize(options.init)
    return net


def _run_options(options):
    """Return the arguments of SGD that both networks have."""
    return dict(
        on_divergence=options.on_divergence, checkpoint=options.checkpointer,
        verbose=not options.quiet, progress=False if options.quiet else None,
        shuffle=options.shuffle, deform=options.deform,
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
        training, options.epochs, options.mini_batch_size, options.eta, options.lmbda, validation,
        monitor_evaluation_accuracy=validation is not None,
        early_stopping_n=options.early_stopping, l1=options.l1, momentum=options.momentum,
        nesterov=options.nesterov, dropout=options.dropout, max_norm=options.max_norm,
        schedule=options.schedule, warmup=options.warmup,
        **_run_options(options),
    )  # fmt: skip
    if validation is None:
        return options.epochs
    if accuracies:
        print(
            f"accuracy on the validation images: {accuracies[-1] / len(validation[1]):.2%} at the "
            f"end, {max(accuracies) / len(validation[1]):.2%} at best "
            f"(epoch {int(np.argmax(accuracies))})"
        )
    return len(accuracies)
