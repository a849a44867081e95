"""The book's experiments as a table: the numbers in the book, and those of this code for each seed.

Invariants: a row holds all arguments of its experiment; results are percent right, as in the book.
"""

import dataclasses
import random
import statistics
import time

import numpy as np

from fastbp import expand_mnist, network, network2
from fastbp.recipes import RECIPES

SILENT = dict(progress=False, verbose=False)  # arguments of SGD
N_IMAGES = 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000  # training sets of chapter 3


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment: a network, how it is trained, and the numbers that the book gives for it.

    name: for --row; text: for the table. Chapter 1 uses network.Network, the others
    network2.Network. reported: pairs (which, percent); which is "first", "last" or "best", an epoch
    on the `data` set, "test" or "validation", or "at best validation", the percent of the test set
    in the best epoch on the validation set; percent is None where the book gives no number. large:
    large_weight_initializer; images: number of training images; expanded: each image is followed by
    its four displaced copies; recipe: the recipe of all other settings; deform: other arguments of
    its Deformation; curves: record costs and training accuracies for the pictures; quick: part of
    the quick set; note: why this code's numbers may differ.
    """

    name: str
    chapter: int
    text: str
    sizes: tuple
    eta: float
    epochs: int
    reported: tuple
    data: str = "test"
    lmbda: float = 0.0
    cost: str = "cross-entropy"
    large: bool = False
    images: int = 50_000
    expanded: bool = False
    recipe: str = ""
    deform: dict | None = None
    curves: bool = False
    quick: bool = False
    note: str = ""

    @property
    def evaluation_interval(self):
        """The number of epochs between evaluations: 1, or so that there are about 30 in all."""
        every_epoch = self.curves or any(which == "best" for which, _ in self.reported)
        return 1 if every_epoch else max(1, self.epochs // 30)

    def is_evaluated(self, epoch):
        """Tell whether the sets are evaluated after an epoch 1, 2 ... `epochs`."""
        return epoch in (1, self.epochs) or epoch % self.evaluation_interval == 0

    @property
    def work(self):
        """The estimated number of multiplications, for the progress bar."""
        weights = sum(a * b for a, b in zip(self.sizes, self.sizes[1:]))
        evaluated = 20_000 / 3 / self.evaluation_interval  # a forward pass is a third of a step
        images = 5 * self.images if self.expanded else self.images
        return self.epochs * (images + evaluated) * (weights + 5_000)


SMALL, LARGER = (784, 30, 10), (784, 100, 10)


def _rows():
    """Yield the experiments in the order of the book."""
    yield Row(
        "chapter1-30", 1, "[784, 30, 10], quadratic, eta 3.0, 30 epochs", SMALL, 3.0, 30,
        (("best", 95.42),), quick=True,
    )  # fmt: skip
    yield Row(
        "chapter1-100", 1, "[784, 100, 10], the same", LARGER, 3.0, 30, (("best", 96.59),),
        note="for most seeds the output neuron of one digit stays near 0, in the book's own code, "
        "too; the book warns that runs vary, and reports the best of several",
    )  # fmt: skip
    yield Row(
        "slow", 1, "[784, 100, 10], eta 0.001", LARGER, 0.001, 30,
        (("first", 11.39), ("last", 21.42)),
        note="after one epoch the accuracy depends on the initial weights, and is about 10",
    )  # fmt: skip
    yield Row("fast", 1, "[784, 30, 10], eta 100", SMALL, 100.0, 30, (("last", 10.09),), quick=True)
    yield Row(
        "cross-entropy-30", 3, "[784, 30, 10], large, eta 0.5, 30 epochs", SMALL, 0.5, 30,
        (("best", 95.49), ("last", 95.33)), large=True, quick=True,
    )  # fmt: skip
    yield Row(
        "cross-entropy-100", 3, "[784, 100, 10], the same", LARGER, 0.5, 30, (("best", 96.82),),
        large=True,
    )  # fmt: skip
    for lmbda, percent in ((0.0, 82.27), (0.1, 87.1)):
        yield Row(
            f"overfitting-lmbda-{lmbda}", 3,
            f"[784, 30, 10], large, 1,000 images, eta 0.5, lmbda {lmbda}, 400 epochs", SMALL, 0.5,
            400, (("best", percent),), lmbda=lmbda, large=True, images=1000, curves=True,
        )  # fmt: skip
    yield Row(
        "regularised-30", 3, "[784, 30, 10], large, eta 0.5, lmbda 5.0, 30 epochs", SMALL, 0.5, 30,
        (("last", 96.49), ("best", 96.49)), lmbda=5.0, large=True, quick=True,
        note="at eta 0.5 the accuracy changes by half a percent between the last epochs",
    )  # fmt: skip
    yield Row(
        "regularised-100", 3, "[784, 100, 10], large, eta 0.5, lmbda 5.0, 30 epochs", LARGER, 0.5,
        30, (("best", 97.92),), "validation", lmbda=5.0, large=True,
    )  # fmt: skip
    yield Row(
        "regularised-100-slower", 3, "[784, 100, 10], large, eta 0.1, lmbda 5.0, 60 epochs", LARGER,
        0.1, 60, (("best", 98.04),), "validation", lmbda=5.0, large=True,
        note="seeds 1 to 10 give 97.86 to 97.98; the book's number, from one run of the same "
        "algorithm, is six images of 10,000 more",
    )  # fmt: skip
    for large, first, last in ((False, 92.70, 96.50), (True, 86.43, 96.37)):
        init = "large" if large else "default"
        yield Row(
            f"initialised-{init}", 3, f"[784, 30, 10], {init}, eta 0.1, lmbda 5.0, 30 epochs",
            SMALL, 0.1, 30, (("first", first), ("last", last)), "validation", lmbda=5.0,
            large=large, quick=True,
        )  # fmt: skip
    percents = 69.09, 76.37, 85.29, 88.85, 91.27, 93.24, 94.89, 95.85, 95.97
    for images, percent in zip(N_IMAGES, percents):
        yield Row(
            f"images-{images}", 3,
            f"[784, 30, 10], large, {images:,} images, eta 0.5, lmbda {0.0001 * images:g}, "
            f"{1_500_000 // images:,} epochs",
            SMALL, 0.5, 1_500_000 // images, (("last", percent),), "validation",
            lmbda=0.0001 * images, large=True, images=images, quick=1000 <= images <= 10_000,
        )  # fmt: skip
    yield Row(
        "expanded-100", 3, "[784, 100, 10], large, 250,000 expanded images, eta 0.1, lmbda 25, "
        "12 epochs", LARGER, 0.1, 12, (("best", None),), "validation", lmbda=25.0, large=True,
        expanded=True,
    )  # fmt: skip
    yield from _recipe_rows()
    for layers, percent in enumerate((96.48, 96.90, 96.57, 96.53), 1):
        yield Row(
            f"layers-{layers}", 5, f"{layers} x 30 hidden neurons, eta 0.1, lmbda 5.0, 30 epochs",
            (784, *[30] * layers, 10), 0.1, 30, (("last", percent),), "validation", lmbda=5.0,
        )  # fmt: skip
    yield Row(
        "softmax", 6, "[784, 100, 10], softmax, log-likelihood, eta 0.1, 60 epochs", LARGER, 0.1,
        60, (("at best validation", 97.80),), cost="log-likelihood",
    )  # fmt: skip


def _recipe_rows():
    """Yield the rows of Simard's results, which chapter 3 quotes."""
    note = (
        "relu and Nesterov's momentum, not the source's settings; see fastbp train --list-recipes"
    )
    for kind, name, deform, percent, text in (
        ("plain", "plain-800", None, 98.4, "dropout"),
        ("affine", "simard-2003", dict(elastic=None), 98.9, "rotated, sheared, scaled, displaced"),
        ("elastic", "simard-2003", None, 99.3, "the same and elastic fields"),
    ):
        recipe = RECIPES[name]
        yield Row(
            f"simard-{kind}", 3, f"[784, 800, 10], {text}, {recipe.epochs} epochs", recipe.sizes,
            recipe.eta, recipe.epochs, (("last", percent),), recipe=name, deform=deform, note=note,
        )  # fmt: skip


ROWS = tuple(_rows())


class _Recorder:
    """A mixin that evaluates two sets after an epoch, at the row's interval, instead of one."""

    def begin(self, row, sets, on_epoch):
        self.row, self.sets, self.on_epoch, self.counts, self.epoch = row, sets, on_epoch, [], 0

    def record(self, count_correct):
        self.epoch += 1
        if self.row.is_evaluated(self.epoch):
            self.counts.append({name: count_correct(data) for name, data in self.sets.items()})
        self.on_epoch()
        return 0


class _Chapter1(_Recorder, network.Network):
    def evaluate(self, test_data):
        return self.record(super().evaluate)


class _Chapter3(_Recorder, network2.Network):
    def accuracy(self, data, convert=False):
        if convert:  # the training images
            return super().accuracy(data, convert)
        return self.record(super().accuracy)


def run(row, data, seed, dtype="float64", threads=None, on_epoch=lambda: None):
    """Return the results of one experiment: {"percent": [...], "seconds": ..., "curves": {...}}.

    data: (training, validation, test) as mnist_loader.load_data returns it; percent: one number for
    each that the book reports; curves: lists of one number per evaluated epoch, by name.
    """
    training, validation, test = data
    training = training[0][: row.images], training[1][: row.images]
    sets = {"test": test, "validation": validation}
    start = time.perf_counter()
    net, curves = _train(row, training, sets, seed, dict(dtype=dtype, threads=threads), on_epoch)
    seconds = time.perf_counter() - start
    for name, (_, labels) in sets.items():
        curves[name] = [100 * counts[name] / len(labels) for counts in net.counts]
    percent = [_reported(which, curves, row.data) for which, _ in row.reported]
    return {"percent": percent, "seconds": seconds, "curves": curves}


def _train(row, training, sets, seed, settings, on_epoch):
    """Return the trained network of a row, and its monitored curves, if the row has any."""
    if row.expanded:
        training = expand_mnist.expand(training)
    _seed_generators(seed)
    if row.recipe:
        return _train_recipe(row, training, sets, settings, on_epoch), {}
    if row.chapter == 1:
        net = _Chapter1(list(row.sizes), **settings)
        net.begin(row, sets, on_epoch)
        net.SGD(training, row.epochs, 10, row.eta, test_data=sets["test"], **SILENT)
        return net, {}
    net = _new_network2(row, settings)
    net.begin(row, sets, on_epoch)
    evaluation_cost, _, training_cost, training_accuracy = net.SGD(
        training, row.epochs, 10, row.eta, row.lmbda, sets["test"], row.curves, True,
        row.curves, row.curves, **SILENT,
    )  # fmt: skip
    if not row.curves:
        return net, {}
    return net, dict(
        test_cost=evaluation_cost,
        training_cost=training_cost,
        training_accuracy=[100 * count / len(training[1]) for count in training_accuracy],
    )


def _train_recipe(row, training, sets, settings, on_epoch):
    """Return the trained network of a row with a recipe: in float32, as recipes are."""
    recipe, settings = RECIPES[row.recipe], settings | {"dtype": "float32"}
    net = _Chapter3(
        list(recipe.sizes), network2.COSTS[recipe.cost], activation=recipe.activation, **settings
    )
    net._initialize(recipe.init)
    net.begin(row, sets, on_epoch)
    deform = recipe.deform and {**recipe.deform, **(row.deform or {})}
    net.SGD(
        training, **recipe.arguments(row.epochs) | {"deform": deform},
        evaluation_data=sets["test"], monitor_evaluation_accuracy=True, **SILENT,
    )  # fmt: skip
    return net


def _seed_generators(seed):
    """Seed both global random generators, as the book's scripts do."""
    random.seed(seed)
    np.random.seed(seed)


def _new_network2(row, settings):
    """Return the network of a row of chapters 3 to 6, with its initial weights."""
    net = _Chapter3(list(row.sizes), network2.COSTS[row.cost], **settings)
    if row.large:
        net.large_weight_initializer()
    if row.cost == "log-likelihood":  # network3.py of chapter 6 initialises weights in this way
        n = row.sizes[1]
        net.weights[0][...] = np.random.randn(n, row.sizes[0]) / np.sqrt(n)
        net.weights[1][...], net.biases[1][...] = 0, 0
    return net


def _reported(which, curves, name):
    """Return the number of a curve that the book reports; which: see Row."""
    values = curves[name]
    if which == "at best validation":
        return values[int(np.argmax(curves["validation"]))]
    return {"first": values[0], "last": values[-1], "best": max(values)}[which]


def select_rows(chapter=None, row=None, quick=False):
    """Return the rows of a chapter, of a name, of the quick set, or raise ValueError for none."""
    rows = [
        r
        for r in ROWS
        if chapter in (None, r.chapter) and row in (None, r.name) and (r.quick or not quick)
    ]
    if not rows:
        asked = f"{row!r}" if row else f"of chapter {chapter}"
        names = ", ".join(f"{r.name} ({r.chapter})" for r in ROWS if r.quick or not quick)
        of_set = " of the quick set" if quick else ""
        raise ValueError(f"no row{of_set} is {asked}, expected one of these (chapter): {names}")
    return rows


def run_all(rows, data, seeds, dtype="float64", threads=None, on_work=lambda done: None):
    """Return the results of rows: {name: [what `run` returns, for each seed]}.

    on_work(done) is called after each epoch with the multiplications in it, as Row.work counts.
    """
    return {
        row.name: [
            run(row, data, seed, dtype, threads, lambda row=row: on_work(row.work / row.epochs))
            for seed in seeds
        ]
        for row in rows
    }


GRADIENT_LAYERS = (784, 30, 30, 30, 10)


def learning_rates(data, epochs, seed=1, rates=(0.025, 0.25, 2.5), **settings):
    """Return {eta: training costs, one per epoch} of [784, 30, 10] (chapter 3)."""
    training, _, _ = data
    costs = {}
    for eta in rates:
        _seed_generators(seed)
        net = network2.Network([784, 30, 10], **settings)
        _, _, costs[eta], _ = net.SGD(
            training, epochs, 10, eta, 5.0, monitor_training_cost=True, **SILENT
        )
    return costs


def gradient_norms(data, epochs, seed=1, sizes=GRADIENT_LAYERS, **settings):
    """Return the norms of the gradient in the hidden layers, a list per epoch (chapter 5).

    1,000 images, gradient descent on all of them at once, eta 0.1, lmbda 5.0, as in the book's
    figures of unstable gradients.
    """
    images = tuple(part[:1000] for part in data[0])
    _seed_generators(seed)
    net, norms = network2.Network(list(sizes), **settings), []
    for _ in range(epochs):
        norms.append(net.gradient_norms(images)[:-1])
        net.SGD(images, 1, 1000, 0.1, 5.0, **SILENT)
    return norms


def notes(rows):
    """Return lines that say why results may differ from the book."""
    return "".join(f"- {row.text}: {row.note}.\n" for row in rows if row.note)


GOALS = 97, 98  # percent of the test images


def seconds_to(goal, row, results):
    """Return, for each seed, the seconds until `goal` percent of the test images, or None.

    Evaluation is included; all epochs are taken to last equally long.
    """
    reached, epochs = [], [epoch for epoch in range(1, row.epochs + 1) if row.is_evaluated(epoch)]
    for result in results:
        curve = result["curves"]["test"]
        first = next((epoch for epoch, value in zip(epochs, curve) if value >= goal), None)
        reached.append(first and result["seconds"] * first / row.epochs)
    return reached


def goals(rows, results):
    """Return lines that say how soon each goal was reached, by the fastest of the rows."""
    lines = []
    for goal in GOALS:
        times = [(seconds_to(goal, row, results[row.name]), row.text) for row in rows]
        medians = [(statistics.median(t), text) for t, text in times if None not in t]
        seconds, text = min(medians, default=(None, None))
        outcome = f"{seconds:.1f} s, {text}" if medians else "not reached with every seed"
        lines.append(f"- {goal} % of the test images after: {outcome}\n")
    return "".join(lines)


def table(rows, results):
    """Return the results as a Markdown table, beside the book's numbers."""
    lines = [
        "| ch. | experiment | quoted | the book | mean (range) of seeds | best | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        seconds = statistics.mean(result["seconds"] for result in results[row.name])
        for k, (which, percent) in enumerate(row.reported):
            ours = [result["percent"][k] for result in results[row.name]]
            spread = f" ({min(ours):.2f}-{max(ours):.2f})" if len(ours) > 1 else ""
            quoted = "-" if percent is None else f"{percent:.2f}"
            where = f"test {which}" if "validation" in which else f"{row.data}, {which}"
            lines.append(
                f"| {row.chapter} | {row.text} | {where} | {quoted} | "
                f"{statistics.mean(ours):.2f}{spread} | "
                f"{max(ours):.2f} | {seconds:.1f} |"
            )
    return "\n".join(lines) + "\n"
