"""Single calls and the overrides that people write, against the book's own code in NumPy.

`python -m bench.single_calls [--save FILE]` prints a table: for each call the median time of both,
in microseconds, and of the ratio of two neighbouring measurements. A goal is missed where fastbp
takes more than 1.05 of the book's time and 3 us more.
"""

import argparse
import statistics
import time

import numpy as np

from bench import report
from bench.work import Oracle, sigma
from fastbp.network import Network

ROUNDS = 41
SECONDS = 0.02  # of one measurement
RATIO, MORE = 1.05, 3.0  # the goal: at most so many times the book's time, or so many us more


class Book(Oracle):
    """The oracle with what the book's code does beyond it: sums begin with zeros, a gradient's
    lists with zeros that are replaced, and sigma'(z) is computed from z."""

    def gradient(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        layers, zs = [x], []
        for w, b in zip(self.weights, self.biases):
            zs.append(np.dot(w, layers[-1]) + b)
            layers.append(sigma(zs[-1]))
        delta = self.output_error(layers[-1], y, zs[-1])
        nabla_b[-1], nabla_w[-1] = delta, np.dot(delta, layers[-2].T)
        for l in range(2, len(layers)):
            delta = np.dot(self.weights[1 - l].T, delta) * sigma_prime(zs[-l])
            nabla_b[-l], nabla_w[-l] = delta, np.dot(delta, layers[-l - 1].T)
        return nabla_b, nabla_w

    def output_error(self, a, y, z):
        return self.cost_derivative(a, y) * sigma_prime(z)

    def cost_derivative(self, a, y):
        return a - y


def sigma_prime(z):
    return sigma(z) * (1 - sigma(z))


class BookMomentum(Book):
    """Momentum as readers add it to the book's class: an own step that asks for each gradient."""

    velocity = None

    def step(self, batch, eta):
        take_step_with_momentum(self, [self.gradient(x, y) for x, y in batch], eta)


class Momentum(Network):
    velocity = None

    def update_mini_batch(self, mini_batch, eta):
        take_step_with_momentum(self, [self.backprop(x, y) for x, y in mini_batch], eta)


def take_step_with_momentum(net, gradients, eta):
    params = net.biases + net.weights
    sums = [np.zeros(p.shape) for p in params]
    for nabla_b, nabla_w in gradients:
        sums = [s + n for s, n in zip(sums, [*nabla_b, *nabla_w])]
    velocity = net.velocity or [np.zeros(p.shape) for p in params]
    net.velocity = [0.9 * v - eta / len(gradients) * s for v, s in zip(velocity, sums)]
    params = [p + v for p, v in zip(params, net.velocity)]
    net.biases, net.weights = params[: len(net.biases)], params[len(net.biases) :]


class BookCrossEntropy(Book):
    def cost_derivative(self, a, y):
        return (a - y) / (a * (1 - a))


class CrossEntropy(Network):
    """Cross-entropy as the book's chapter 3 introduces it: another derivative of the cost."""

    def cost_derivative(self, output_activations, y):
        return (output_activations - y) / (output_activations * (1 - output_activations))


class BookClipped(Book):
    def gradient(self, x, y):
        nabla_b, nabla_w = super().gradient(x, y)
        return nabla_b, [np.clip(n, -1, 1) for n in nabla_w]


class Clipped(Network):
    """A gradient that is changed on its way, through super()."""

    def backprop(self, x, y):
        nabla_b, nabla_w = super().backprop(x, y)
        return nabla_b, [np.clip(n, -1, 1) for n in nabla_w]


def pairs(sizes, n=10):
    rng = np.random.default_rng(1)
    X = rng.random((n, sizes[0], 1)) * (rng.random((n, sizes[0], 1)) < 0.2)
    Y = np.eye(sizes[-1])[:, rng.integers(0, sizes[-1], n)].T[:, :, None]
    return list(zip(X, np.ascontiguousarray(Y)))


def calls(sizes):
    """Yield (name, the book's call, ours), each without arguments."""
    data = pairs(sizes)
    x, y = data[0]
    labels = [(x, int(y.argmax()) if sizes[-1] > 1 else int(y[0, 0])) for x, y in data]

    def both(book, ours):
        np.random.seed(1)
        theirs, net = book(sizes), ours(sizes)
        net.weights, net.biases = [w.copy() for w in theirs.weights], list(theirs.biases)
        net.update_mini_batch(data, 0.1)  # from now on the weights are ours
        return theirs, net

    book, net = both(Book, Network)
    yield "feedforward", lambda: book.feedforward(x), lambda: net.feedforward(x)
    yield "backprop", lambda: book.gradient(x, y), lambda: net.backprop(x, y)
    yield "update_mini_batch of ten", *steps(book, net, data)
    yield "evaluate ten", lambda: book.count_correct(labels), lambda: net.evaluate(labels)
    for name, theirs, ours in (
        ("own update_mini_batch (momentum)", BookMomentum, Momentum),
        ("own cost_derivative", BookCrossEntropy, CrossEntropy),
        ("own backprop through super()", BookClipped, Clipped),
    ):
        yield f"{name}, step of ten", *steps(*both(theirs, ours), data)


def steps(book, net, data):
    return lambda: book.step(data, 0.1), lambda: net.update_mini_batch(data, 0.1)


def timed(call, count):
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count * 1e6


def measured(book, ours):
    """Return (the book's us, our us, the ratio): medians over rounds in which both take turns."""
    counts = [max(1, int(SECONDS * 1e6 / min(timed(call, 3) for _ in range(3))))
              for call in (book, ours)]  # fmt: skip
    rounds = [(timed(book, counts[0]), timed(ours, counts[1])) for _ in range(ROUNDS)]
    theirs, mine = (statistics.median(column) for column in zip(*rounds))
    return theirs, mine, statistics.median(m / t for t, m in rounds)


HEADER = ("net", "call", "the book's, us", "fastbp, us", "ratio", "goal")


def rows():
    for sizes in ([784, 30, 10], [784, 100, 10], [2, 3, 1]):
        for name, book, ours in calls(sizes):
            theirs, mine, ratio = measured(book, ours)
            met = "met" if ratio <= RATIO or mine <= theirs + MORE else "missed"
            yield sizes, name, f"{theirs:.1f}", f"{mine:.1f}", f"{ratio:.2f}", met


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.single_calls", description=__doc__)
    parser.add_argument("--save", metavar="FILE", help="write the table to this file, too")
    options = parser.parse_args()
    report.print_table("Single calls", HEADER, rows(), "python -m bench.single_calls", options.save)


if __name__ == "__main__":
    main()
