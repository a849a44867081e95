"""Samples with targets and weights, and their division into training and validation data."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from fastbp.estimators.validation_split import held_out


def canonical(X):
    """Return X; compressed sparse rows with sorted indices and without duplicates."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def check_sparse(X, name):
    """Raise ValueError for a sparse array whose indices are out of range.

    SciPy and the kernels do not look, and would read and write beyond its memory.
    """
    if not sparse.issparse(X):
        return
    try:  # what is checked is another object on the same memory: checks change attributes
        if X.format == "coo":
            type(X)((X.data, X.coords), shape=X.shape)
        elif X.format in ("csr", "csc", "bsr"):
            type(X)((X.data, X.indices, X.indptr), shape=X.shape).check_format()
            if (np.diff(X.indptr) < 0).any():  # SciPy does not look where the last one is 0
                raise ValueError("indptr must be a non-decreasing sequence")
    except ValueError as error:
        raise ValueError(f"{name} is a damaged sparse array: {error}; make it anew") from None


class TrainingData(NamedTuple):
    """X (n, n_in), dense or CSR; Y (n, n_out) of the same type; sample_weight (n,), float64."""

    X: np.ndarray
    Y: np.ndarray
    sample_weight: np.ndarray

    def _where(self, mask):
        return TrainingData(*(part[mask] for part in self))

    def without_weight_0(self):
        """Return the samples that have a weight above 0."""
        return self if self.sample_weight.all() else self._where(self.sample_weight > 0)

    def split(self, strata, fraction, key):
        """Return (the samples to train on, the held-out ones); see validation_split.held_out."""
        mask = held_out(self.X, strata, self.sample_weight, fraction, key)
        if not mask.any():
            n = len(self.Y)
            raise ValueError(
                f"early_stopping holds out samples, and finds none that differ from others: "
                f"n_samples = {n}; pass more, or eval_set"
            )
        return self._where(~mask), self._where(mask)
