"""The oracle: the book's algorithm in plain NumPy, one sample at a time, slow and obvious.

Written from the four equations of chapter 2. Nothing in fastbp is fast until it agrees with this.
It is the bench's yardstick, too: np.dot, as in the book, is faster for outer products than @.
"""

import itertools
import random

import numpy as np


def sigma(z):
    with np.errstate(over="ignore"):  # exp(-z) = inf is right here: sigma is 0
        return 1.0 / (1.0 + np.exp(-z))


class Oracle:
    def __init__(self, sizes):
        self.sizes = sizes
        self.biases = [np.random.randn(n_out, 1) for n_out in sizes[1:]]
        self.weights = [np.random.randn(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]

    def activations(self, x):
        """All layers' activations a^1 .. a^L of one column x."""
        layers = [x]
        for w, b in zip(self.weights, self.biases):
            layers.append(sigma(np.dot(w, layers[-1]) + b))
        return layers

    def feedforward(self, x):
        return self.activations(x)[-1]

    def output_error(self, a, y):
        """BP1 for the quadratic cost."""
        return (a - y) * a * (1 - a)

    def gradient(self, x, y):
        """(nabla_b, nabla_w) of one sample, by BP1-BP4."""
        layers = self.activations(x)
        delta = self.output_error(layers[-1], y)
        nabla_b, nabla_w = [delta], [np.dot(delta, layers[-2].T)]
        for w, a, a_before in zip(self.weights[:0:-1], layers[-2:0:-1], layers[-3::-1]):
            delta = np.dot(w.T, delta) * a * (1 - a)  # BP2
            nabla_b.insert(0, delta)  # BP3
            nabla_w.insert(0, np.dot(delta, a_before.T))  # BP4
        return nabla_b, nabla_w

    def step(self, batch, eta):
        """One step of gradient descent on a mini-batch of (x, y)."""
        sum_b = [np.zeros_like(b) for b in self.biases]
        sum_w = [np.zeros_like(w) for w in self.weights]
        for x, y in batch:
            nabla_b, nabla_w = self.gradient(x, y)
            sum_b = [s + n for s, n in zip(sum_b, nabla_b)]
            sum_w = [s + n for s, n in zip(sum_w, nabla_w)]
        rate = eta / len(batch)
        self.biases = [b - rate * s for b, s in zip(self.biases, sum_b)]
        self.weights = [w - rate * s for w, s in zip(self.weights, sum_w)]

    def train(self, data, epochs, m, eta):
        """Stochastic gradient descent; shuffles the list `data` in place, once per epoch."""
        for _ in range(epochs):
            random.shuffle(data)
            for k in range(0, len(data), m):
                self.step(data[k : k + m], eta)

    def count_correct(self, data):
        return sum(int(np.argmax(self.feedforward(x)) == y) for x, y in data)

    def cost(self, data):
        """Quadratic cost summed over the data."""
        return sum(0.5 * np.sum((self.feedforward(x) - y) ** 2) for x, y in data)
