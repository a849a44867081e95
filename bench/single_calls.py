"""Single calls and the overrides that people write, against the book's own code in NumPy.

For each call: the median time of both in microseconds, and the median of the paired ratios. A goal
is missed where fastbp takes more than 1.05 times the book's time and 3 us more. Before they are
timed, both must give the same weights after a step.
"""

import functools
import operator
import statistics

import numpy as np

from bench import tables, timing
from bench.workload import Oracle, sigma
from fastbp.network import Network

TITLE = "Single calls against the book's structure in NumPy"
ROUNDS = 41
SECONDS = 0.02  # of one measurement
MOST_RATIO, MOST_MORE = 1.05, 3.0  # the goal: so many times the book's time, or so many us more
HEADER = ("net", "call", "the book's, us", "fastbp, us", "ratio", "goal")


def sigma_prime(z):
    return sigma(z) * (1 - sigma(z))


class Book(Oracle):
    """The oracle with what the book's code does beyond it, under the names of the book.

    A gradient's lists begin with zeros that are replaced, and sigma'(z) is computed from z.
    """

    update_mini_batch = Oracle.step
    evaluate = Oracle.count_correct

    def gradient(self, x, y):
        return self.backprop(x, y)

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        layers, zs = [x], []
        for w, b in zip(self.weights, self.biases):
            zs.append(np.dot(w, layers[-1]) + b)
            layers.append(sigma(zs[-1]))
        delta = self.cost_derivative(layers[-1], y) * sigma_prime(zs[-1])
        nabla_b[-1], nabla_w[-1] = delta, np.dot(delta, layers[-2].T)
        for l in range(2, len(layers)):
            delta = np.dot(self.weights[1 - l].T, delta) * sigma_prime(zs[-l])
            nabla_b[-l], nabla_w[-l] = delta, np.dot(delta, layers[-l - 1].T)
        return nabla_b, nabla_w

    def cost_derivative(self, output_activations, y):
        return output_activations - y


# ------------------------------------------------ overrides: subclasses of the book's class or ours


def with_momentum(base):
    class Momentum(base):
        velocity = None

        def update_mini_batch(self, mini_batch, eta):
            params = self.biases + self.weights
            sums = [np.zeros(p.shape) for p in params]
            for x, y in mini_batch:
                nabla_b, nabla_w = self.backprop(x, y)
                sums = [s + n for s, n in zip(sums, [*nabla_b, *nabla_w])]
            velocity = self.velocity or [np.zeros(p.shape) for p in params]
            rate = eta / len(mini_batch)
            self.velocity = [0.9 * v - rate * s for v, s in zip(velocity, sums)]
            params = [p + v for p, v in zip(params, self.velocity)]
            self.biases = params[: len(self.biases)]
            self.weights = params[len(self.biases) :]

    return Momentum


def with_cross_entropy(base):
    """Chapter 3 introduces cross-entropy as another derivative of the cost."""

    class CrossEntropy(base):
        def cost_derivative(self, output_activations, y):
            return (output_activations - y) / (output_activations * (1 - output_activations))

    return CrossEntropy


def with_clipping(base):
    class Clipped(base):
        def backprop(self, x, y):
            nabla_b, nabla_w = super().backprop(x, y)
            return nabla_b, [np.clip(n, -1, 1) for n in nabla_w]

    return Clipped


# ------------------------------------------------ calls


def pairs(sizes, n=10):
    rng = np.random.default_rng(1)
    X = rng.random((n, sizes[0], 1)) * (rng.random((n, sizes[0], 1)) < 0.2)
    Y = np.eye(sizes[-1])[:, rng.integers(0, sizes[-1], n)].T[:, :, None]
    return list(zip(X, np.ascontiguousarray(Y)))


def networks(sizes, data, override):
    """Return the book's network and ours, after one equal step: the weights are ours from then."""
    np.random.seed(1)
    classes = [override(base) if override else base for base in (Book, Network)]
    book, net = (each(sizes) for each in classes)
    net.weights, net.biases = [w.copy() for w in book.weights], list(book.biases)
    for each in (book, net):
        each.update_mini_batch(data, 0.1)
    for one, other in zip(book.weights + book.biases, net.weights + net.biases):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)
    return book, net


def calls(sizes):
    """Yield (name, the book's call, ours), each without arguments."""
    data = pairs(sizes)
    x, y = data[0]
    labels = [(x, int(y.argmax()) if sizes[-1] > 1 else int(y[0, 0])) for x, y in data]
    step = "update_mini_batch", data, 0.1
    for name, override, (method, *arguments) in (
        ("feedforward", None, ("feedforward", x)),
        ("backprop", None, ("backprop", x, y)),
        ("update_mini_batch of ten", None, step),
        ("evaluate ten", None, ("evaluate", labels)),
        ("own update_mini_batch (momentum), step of ten", with_momentum, step),
        ("own cost_derivative, step of ten", with_cross_entropy, step),
        ("own backprop through super(), step of ten", with_clipping, step),
    ):
        call = operator.methodcaller(method, *arguments)
        yield name, *(functools.partial(call, net) for net in networks(sizes, data, override))


def measure(settings):
    """Return the table."""
    rows, rounds = [], 3 if settings.quick else ROUNDS
    for sizes in ([784, 30, 10], [784, 100, 10], [2, 3, 1]):
        for name, book, fastbp in calls(sizes):
            timed = {
                which: lambda call=call: timing.seconds_per_call(call, SECONDS, 1) * 1e6
                for which, call in (("fastbp", fastbp), ("book", book))
            }
            measured = timing.interleaved(timed, rounds)
            ours, theirs = (statistics.median(measured[which]) for which in timed)
            _, ratio, _ = timing.paired_ratio(measured["fastbp"], measured["book"])
            met = "met" if ratio <= MOST_RATIO or ours <= theirs + MOST_MORE else "missed"
            rows.append((sizes, name, f"{theirs:.1f}", f"{ours:.1f}", f"{ratio:.2f}", met))
    return (
        f"The goal: at most {MOST_RATIO:g} times the book's time and {MOST_MORE:g} us more. The "
        f"book's: its structure, in our words, see bench/workload.py.\n\n"
        f"{tables.table(HEADER, rows)}"
    )
