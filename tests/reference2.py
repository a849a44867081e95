"""The oracle of chapter 3: every rule of a step spelled out in plain NumPy, slow and obvious.

Written from the book's equations and, for what it leaves out, from the papers' definitions; rows
are samples, and everything is float64. Data come as arrays X (n, n_in) and Y (n, n_out).
"""

import itertools

import numpy as np
from reference import sigma


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


FUNCTIONS = {
    "sigmoid": sigma,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z < 0, 0.0, z),
    "linear": lambda z: z,
    "softmax": softmax,
}
DERIVATIVES = {
    "sigmoid": lambda z: sigma(z) * (1 - sigma(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0) * 1.0,
    "linear": np.ones_like,
}


def costs(cost, a, y):
    """The cost of each sample."""
    if cost == "quadratic":
        return 0.5 * ((a - y) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if cost == "cross-entropy":
            return np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)).sum(axis=1)
        return np.nan_to_num(-y * np.log(a)).sum(axis=1)


def mixed(x):
    """lowbias32, on arrays of uint32."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def dropout_mask(key, l, samples, n, drop):
    """(m, n): 0 for the neurons that are left out, 1 / (1 - drop) for the others."""
    if not drop:
        return np.ones((len(samples), n))
    rows = mixed(mixed(np.array([key ^ l], np.uint32)) ^ np.asarray(samples).astype(np.uint32))
    columns = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9)
    draws = mixed(rows[:, None] + columns)
    return np.where(draws < np.uint32(min(int(drop * 2**32), 2**32 - 1)), 0.0, 1 / (1 - drop))


class Oracle2:
    def __init__(self, sizes, activations=None, cost="cross-entropy"):
        self.sizes, self.cost_name = sizes, cost
        self.activations = activations or ["sigmoid"] * (len(sizes) - 1)
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]
        shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
        self.weights = [np.random.randn(*shape) / np.sqrt(shape[1]) for shape in shapes]
        self.forget()

    def forget(self):
        """No velocity, and no moments of Adam."""
        self.steps = 0
        self.moments = [
            [[np.zeros_like(p) for p in params] for params in (self.weights, self.biases)]
            for _ in range(2)
        ]
        self.velocity_w = [np.zeros_like(w) for w in self.weights]
        self.velocity_b = [np.zeros_like(b) for b in self.biases]

    def feedforward(self, X):
        for w, b, name in zip(self.weights, self.biases, self.activations):
            X = FUNCTIONS[name](X @ w.T + b.T)
        return X

    def gradient(self, X, Y, masks=None):
        """(nabla_b, nabla_w), summed over the samples; masks: of dropout, input layer first."""
        masks = masks or [1.0] * len(self.sizes)
        A, Z = [X * masks[0]], []
        for w, b, name, mask in zip(self.weights, self.biases, self.activations, masks[1:]):
            Z.append(A[-1] @ w.T + b.T)
            A.append(FUNCTIONS[name](Z[-1]) * mask)
        delta = A[-1] - Y
        if self.cost_name == "quadratic":
            delta = delta * DERIVATIVES[self.activations[-1]](Z[-1])
        nabla_b, nabla_w = [], []
        for l in range(len(self.weights) - 1, -1, -1):
            nabla_b.insert(0, delta.sum(axis=0)[:, None])
            nabla_w.insert(0, delta.T @ A[l])
            if l:
                slope = DERIVATIVES[self.activations[l - 1]](Z[l - 1])
                delta = (delta @ self.weights[l]) * slope * masks[l]
        return nabla_b, nabla_w

    def step(
        self, X, Y, eta, n, lmbda=0.0, l1=0.0, momentum=0.0, nesterov=False, max_norm=None,
        masks=None, adam=False, beta2=0.999, epsilon=1e-8,
    ):  # fmt: skip
        """One mini-batch of a data set of n samples."""
        rate, self.steps = eta / len(X), self.steps + 1
        nabla_b, nabla_w = self.gradient(X, Y, masks)
        for l, (w, b) in enumerate(zip(self.weights, self.biases)):
            step_w = -rate * nabla_w[l] - eta * lmbda / n * w - eta * l1 / n * np.sign(w)
            step_b = -rate * nabla_b[l]
            v_w = self.velocity_w[l] = momentum * self.velocity_w[l] + step_w
            v_b = self.velocity_b[l] = momentum * self.velocity_b[l] + step_b
            if nesterov:
                v_w, v_b = step_w + momentum * v_w, step_b + momentum * v_b
            if adam:
                betas = momentum, beta2
                v_w = self.adam(0, l, -step_w / eta, eta, betas, epsilon)
                v_b = self.adam(1, l, -step_b / eta, eta, betas, epsilon)
            w, b = w + v_w, b + v_b
            if max_norm:
                norms = np.sqrt((w**2).sum(axis=1, keepdims=True))
                w = np.where(norms > max_norm, w * max_norm / norms, w)
            self.weights[l], self.biases[l] = w, b

    def adam(self, kind, l, g, eta, betas, epsilon):
        """What Adam adds to parameters with the gradient g (Kingma and Ba 2015, algorithm 1)."""
        corrected = []
        for moment, beta, power in zip(self.moments, betas, (1, 2)):
            moment[kind][l] = beta * moment[kind][l] + (1 - beta) * g**power
            corrected.append(moment[kind][l] / (1 - beta**self.steps))
        mean, square = corrected
        return -eta * mean / (np.sqrt(square) + epsilon)

    def train(self, X, Y, order, m, eta, dropout=None, key=0, **rules):
        """One epoch over the rows `order`."""
        for k in range(0, len(order), m):
            batch = order[k : k + m]
            masks = None
            if dropout:
                masks = [
                    dropout_mask(key, l, batch, n, drop)
                    for l, (n, drop) in enumerate(zip(self.sizes, dropout))
                ]
            self.step(X[batch], Y[batch], eta, len(X), masks=masks, **rules)

    def total_cost(self, X, Y, lmbda=0.0, l1=0.0):
        n = len(X)
        cost = costs(self.cost_name, self.feedforward(X), Y).sum() / n
        cost += 0.5 * lmbda / n * sum((w**2).sum() for w in self.weights)
        return cost + l1 / n * sum(np.abs(w).sum() for w in self.weights)
