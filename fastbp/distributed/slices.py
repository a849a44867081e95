"""The step of the optimiser on a slice of the packed weights, in NumPy.

Invariant: element by element, so that a slice gets the bits that the whole vector would.
"""

import numpy as np

from fastbp.training.reference_path import step_of

BLOCK = 16384  # numbers that are stepped at once: in the second-level cache


class SliceStep:
    """Takes steps on a slice.

    weights, moments: the slice of each; decays: 1 where a weight decays, 0 for biases; rules: see
    rules.Rules.
    """

    def __init__(self, weights, moments, decays, rules):
        self.weights, self.moments, self.decays, self.rules = weights, moments, decays, rules

    def take(self, gradient, size, eta, number):
        """Take step `number` (1, 2 ...) by a gradient, summed over `size` samples, overwritten."""
        rules = self.rules
        for start in range(0, len(gradient), BLOCK):
            part = slice(start, start + BLOCK)
            w, g = self.weights[part], gradient[part]
            if rules.only_gradient:  # two passes in place of four
                g *= -eta / size
                w += g
                continue
            g /= size
            if rules.l2 or rules.l1:
                g += self.decays[part] * (rules.l2 * w + rules.l1 * np.sign(w))
            w += step_of(g, eta, [moment[part] for moment in self.moments], rules, number)


def limit_norms(packed_layout, weights, max_norm):
    """Scale the weights into each neuron down to the length max_norm at most, in packed weights."""
    for l in range(1, len(packed_layout.sizes)):
        W = packed_layout.weights_into(weights, l)
        norms = np.sqrt((W * W).sum(axis=1, keepdims=True))
        W *= max_norm / np.maximum(norms, max_norm)
