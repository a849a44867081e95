"""The initialisers of chapter 3's Network: how weights and biases begin.

Invariant: all numbers come from `numpy.random`, all biases before all weights, as in the book.
"""

import itertools

import numpy as np

from fastbp.data import parameters
from fastbp.data.warn import public


class Initializers:
    """The methods of a network that draw its weights and biases anew."""

    @public
    def default_weight_initializer(self) -> None:
        """Draw weights from N(0, 1/n_in) and biases from N(0, 1): neurons start unsaturated."""
        self._draw(
            np.random.randn, lambda n_out, n_in: np.random.randn(n_out, n_in) / np.sqrt(n_in)
        )

    @public
    def large_weight_initializer(self) -> None:
        """Draw weights and biases from N(0, 1), as chapters 1 and 2 do."""
        self._draw(np.random.randn, np.random.randn)

    @public
    def he_weight_initializer(self) -> None:
        """Draw weights from N(0, 2/n_in), for relu neurons; biases are 0.

        Notes
        -----
        Signals neither grow nor vanish from layer to layer. Source: He and others 2015, "Delving
        Deep into Rectifiers".
        """
        self._draw(
            lambda n_out, _: np.zeros((n_out, 1)),
            lambda n_out, n_in: np.random.randn(n_out, n_in) * np.sqrt(2 / n_in),
        )

    def _initialize(self, name):
        """Draw by the initialiser "default" (as the constructor has done), "large" or "he"."""
        if name != "default":
            getattr(self, f"{name}_weight_initializer")()

    def _draw(self, biases_of, weights_of):
        """Bind what biases_of(n_out, 1) and weights_of(n_out, n_in) return for each layer."""
        sizes = self._plan.sizes
        biases = [biases_of(n_out, 1) for n_out in sizes[1:]]
        weights = [weights_of(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
        self._bind_parameters(parameters.flatten(weights, biases, self._plan, self.dtype))
