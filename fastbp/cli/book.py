"""The book's experiments as a table: what it reports, and what this code gets, seed by seed.

Law: every row says which call it is; numbers are percent right, as the book quotes them.
"""

import contextlib
import dataclasses
import io
import random
import statistics
import time

import numpy as np

from fastbp import network, network2

SIZES = 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000  # images, chapter 3


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment: a net, how it is trained, and the numbers that the book gives for it.

    quotes: pairs (which, percent), which is "first", "last", "best" (epoch) on `data`, "test" or
    "validation"; "at best validation" is the test set's. chapter 1 uses network.Network, the others
    network2.Network. cost, large, images, activation: as the book has them; watch: record the costs
    and accuracies for a picture, too; quick: part of the quick set; note: why ours may differ.
    """

    name: str
    chapter: int
    text: str
    sizes: tuple
    eta: float
    epochs: int
    quotes: tuple
    data: str = "test"
    lmbda: float = 0.0
    cost: str = "cross-entropy"
    large: bool = False
    images: int = 50_000
    watch: bool = False
    quick: bool = False
    note: str = ""

    @property
    def every(self):
        """Return after how many epochs it is evaluated: always, or about 30 times in all."""
        always = self.watch or any(which == "best" for which, _ in self.quotes)
        return 1 if always else max(1, self.epochs // 30)

    @property
    def work(self):
        """Return about how long it takes, in multiplications."""
        weights = sum(a * b for a, b in zip(self.sizes, self.sizes[1:]))
        evaluated = 20_000 / 3 / self.every  # a forward pass only
        return self.epochs * (self.images + evaluated) * (weights + 5_000)


SMALL, LARGER = (784, 30, 10), (784, 100, 10)


def _rows():
    yield Row(
        "chapter1-30", 1, "[784, 30, 10], quadratic, eta 3.0, 30 epochs", SMALL, 3.0, 30,
        (("best", 95.42),), quick=True,
    )  # fmt: skip
    yield Row(
        "chapter1-100", 1, "[784, 100, 10], the same", LARGER, 3.0, 30, (("best", 96.59),),
        note="for most seeds a digit's output neuron stays dead, in the book's own code, too; it "
        "warns that runs vary, and quotes the best of several",
    )  # fmt: skip
    yield Row(
        "slow", 1, "[784, 100, 10], eta 0.001", LARGER, 0.001, 30,
        (("first", 11.39), ("last", 21.42)),
        note="a net that has hardly begun to learn is anywhere about 10",
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
            400, (("best", percent),), lmbda=lmbda, large=True, images=1000, watch=True,
        )  # fmt: skip
    yield Row(
        "regularised-30", 3, "[784, 30, 10], large, eta 0.5, lmbda 5.0, 30 epochs", SMALL, 0.5, 30,
        (("last", 96.49), ("best", 96.49)), lmbda=5.0, large=True, quick=True,
        note="at eta 0.5 the last epochs jump up and down by half a percent",
    )  # fmt: skip
    yield Row(
        "regularised-100", 3, "[784, 100, 10], large, eta 0.5, lmbda 5.0, 30 epochs", LARGER, 0.5,
        30, (("best", 97.92),), "validation", lmbda=5.0, large=True,
    )  # fmt: skip
    yield Row(
        "regularised-100-slower", 3, "[784, 100, 10], large, eta 0.1, lmbda 5.0, 60 epochs", LARGER,
        0.1, 60, (("best", 98.04),), "validation", lmbda=5.0, large=True,
        note="seeds 1 to 10 give 97.86 to 97.98; the book's number, six images of 10,000 more, is "
        "one run's, and by the same algorithm",
    )  # fmt: skip
    for large, first, last in ((False, 92.70, 96.50), (True, 86.43, 96.37)):
        word = "large" if large else "default"
        yield Row(
            f"initialised-{word}", 3, f"[784, 30, 10], {word}, eta 0.1, lmbda 5.0, 30 epochs",
            SMALL, 0.1, 30, (("first", first), ("last", last)), "validation", lmbda=5.0,
            large=large, quick=True,
        )  # fmt: skip
    percents = 69.09, 76.37, 85.29, 88.85, 91.27, 93.24, 94.89, 95.85, 95.97
    for images, percent in zip(SIZES, percents):
        yield Row(
            f"images-{images}", 3,
            f"[784, 30, 10], large, {images:,} images, eta 0.5, lmbda {0.0001 * images:g}, "
            f"{1_500_000 // images:,} epochs",
            SMALL, 0.5, 1_500_000 // images, (("last", percent),), "validation",
            lmbda=0.0001 * images, large=True, images=images, quick=1000 <= images <= 10_000,
        )  # fmt: skip
    for layers, percent in enumerate((96.48, 96.90, 96.57, 96.53), 1):
        yield Row(
            f"layers-{layers}", 5, f"{layers} x 30 hidden neurons, eta 0.1, lmbda 5.0, 30 epochs",
            (784, *[30] * layers, 10), 0.1, 30, (("last", percent),), "validation", lmbda=5.0,
        )  # fmt: skip
    yield Row(
        "softmax", 6, "[784, 100, 10], softmax, log-likelihood, eta 0.1, 60 epochs", LARGER, 0.1,
        60, (("at best validation", 97.80),), cost="log-likelihood",
    )  # fmt: skip


ROWS = tuple(_rows())


class _Watched:
    """Keeps what is evaluated after each epoch, and says so."""

    def begin(self, row, sets, on_epoch):
        self.row, self.sets, self.on_epoch, self.seen, self.epoch = row, sets, on_epoch, [], 0

    def evaluated(self, count_of):
        self.epoch += 1
        if self.epoch in (1, self.row.epochs) or self.epoch % self.row.every == 0:
            self.seen.append({name: count_of(data) for name, data in self.sets.items()})
        self.on_epoch()
        return 0


class _Chapter1(_Watched, network.Network):
    def evaluate(self, test_data):
        return self.evaluated(super().evaluate)


class _Chapter3(_Watched, network2.Network):
    def accuracy(self, data, convert=False):
        if convert:  # the training images
            return super().accuracy(data, convert)
        return self.evaluated(super().accuracy)


def run(row, data, seed, dtype="float64", threads=None, on_epoch=lambda: None):
    """Return what one experiment gets: {"percent": [...], "seconds": ..., "curves": {...}}.

    data: (training, validation, test) as mnist_loader.load_data returns it; percent: one number for
    each of the row's quotes.
    """
    training, validation, test = data
    training = training[0][: row.images], training[1][: row.images]
    sets = {"test": test, "validation": validation}
    random.seed(seed)
    np.random.seed(seed)
    began, curves = time.perf_counter(), {}
    with contextlib.redirect_stdout(io.StringIO()):
        if row.chapter == 1:
            net = _Chapter1(list(row.sizes), dtype=dtype, threads=threads)
            net.begin(row, sets, on_epoch)
            net.SGD(training, row.epochs, 10, row.eta, test_data=test, progress=False)
        else:
            net = _prepared(row, dtype, threads)
            net.begin(row, sets, on_epoch)
            watched = net.SGD(
                training, row.epochs, 10, row.eta, row.lmbda, test, row.watch, True, row.watch,
                row.watch, progress=False,
            )  # fmt: skip
            if row.watch:
                curves = dict(
                    test_cost=watched[0], training_cost=watched[2],
                    training_accuracy=[100 * c / len(training[1]) for c in watched[3]],
                )  # fmt: skip
    seconds = time.perf_counter() - began
    for name, part in sets.items():
        curves[name] = [100 * seen[name] / len(part[1]) for seen in net.seen]
    percent = [_quoted(which, curves, row.data) for which, _ in row.quotes]
    return {"percent": percent, "seconds": seconds, "curves": curves}


def _prepared(row, dtype, threads):
    net = _Chapter3(list(row.sizes), network2.COSTS[row.cost], dtype=dtype, threads=threads)
    if row.large:
        net.large_weight_initializer()
    if row.cost == "log-likelihood":  # chapter 6 starts so
        n = row.sizes[1]
        net.weights[0][...] = np.random.randn(n, row.sizes[0]) / np.sqrt(n)
        net.weights[1][...], net.biases[1][...] = 0, 0
    return net


def _quoted(which, curves, name):
    values = curves[name]
    if which == "at best validation":
        return values[int(np.argmax(curves["validation"]))]
    return {"first": values[0], "last": values[-1], "best": max(values)}[which]


def chosen(chapter=None, row=None, quick=False):
    """Return the rows asked for, or raise ValueError: there is none of that name."""
    rows = [r for r in ROWS if (chapter in (None, r.chapter)) and (row in (None, r.name))]
    if quick:
        rows = [r for r in rows if r.quick]
    if not rows:
        names = ", ".join(r.name for r in ROWS)
        raise ValueError(f"no row is {row or f'of chapter {chapter}'!r}, expected one of {names}")
    return rows


def run_all(rows, data, seeds, dtype="float64", threads=None, on_work=lambda done: None):
    """Return the results of rows: {name: [what run returns, for each seed]}.

    on_work(done) is called after each epoch, with that epoch's share of Row.work.
    """
    return {
        row.name: [
            run(row, data, seed, dtype, threads, lambda row=row: on_work(row.work / row.epochs))
            for seed in seeds
        ]
        for row in rows
    }


GRADIENT_LAYERS = (784, 30, 30, 30, 10)


def learning_rates(data, seed=1, epochs=30, rates=(0.025, 0.25, 2.5), **options):
    """Return {eta: training costs}, epoch by epoch, on [784, 30, 10] (chapter 3)."""
    training, _, _ = data
    costs = {}
    for eta in rates:
        random.seed(seed)
        np.random.seed(seed)
        net = network2.Network([784, 30, 10], **options)
        with contextlib.redirect_stdout(io.StringIO()):
            _, _, costs[eta], _ = net.SGD(
                training, epochs, 10, eta, 5.0, monitor_training_cost=True, progress=False
            )
    return costs


def gradient_lengths(data, seed=1, epochs=500, sizes=GRADIENT_LAYERS, **options):
    """Return the lengths of the gradient in each hidden layer, epoch by epoch (chapter 5).

    1,000 images, gradient descent on all of them at once, eta 0.1, lmbda 5.0, as in the book's
    figures of unstable gradients.
    """
    few = tuple(part[:1000] for part in data[0])
    random.seed(seed)
    np.random.seed(seed)
    net, lengths = network2.Network(list(sizes), **options), []
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(epochs):
            lengths.append(net.gradient_norms(few)[:-1])
            net.SGD(few, 1, 1000, 0.1, 5.0, progress=False)
    return lengths


def notes(rows):
    """Return lines that say why rows may differ from the book."""
    return "".join(f"- {row.text}: {row.note}.\n" for row in rows if row.note)


GOALS = 97, 98  # percent of the test images


def seconds_to(goal, row, done):
    """Return the seconds until each seed had so many percent of the test images, None if never.

    Evaluation included.
    """
    reached = []
    for one in done:
        epochs = [
            epoch for epoch, percent in enumerate(one["curves"]["test"], 1) if percent >= goal
        ]
        reached.append(one["seconds"] * row.every * epochs[0] / row.epochs if epochs else None)
    return reached


def goals(rows, results):
    """Return lines that say how soon each goal was reached, by the fastest of the rows."""
    lines = []
    for goal in GOALS:
        best = None
        for row in rows:
            reached = seconds_to(goal, row, results[row.name])
            if None not in reached:
                best = min(best or (np.inf, ""), (statistics.median(reached), row.text))
        said = "not reached with every seed" if best is None else f"{best[0]:.1f} s, {best[1]}"
        lines.append(f"- {goal} % of the test images after: {said}\n")
    return "".join(lines)


def table(rows, results):
    """Return the results as a Markdown table, the book's numbers beside ours."""
    lines = [
        "| ch. | experiment | quoted | the book | mean (range) of seeds | best | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        done = results[row.name]
        seconds = statistics.mean(one["seconds"] for one in done)
        for k, (which, percent) in enumerate(row.quotes):
            ours = [one["percent"][k] for one in done]
            quoted = f"test {which}" if "validation" in which else f"{row.data}, {which}"
            lines.append(
                f"| {row.chapter} | {row.text} | {quoted} | {percent:.2f} | "
                f"{statistics.mean(ours):.2f} ({min(ours):.2f}-{max(ours):.2f}) | "
                f"{max(ours):.2f} | {seconds:.1f} |"
            )
    return "\n".join(lines) + "\n"
