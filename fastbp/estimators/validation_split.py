"""Which samples are held out for early stopping.

Invariants: equal rows of X with equal labels are on the same side; nothing depends on the order of
the samples; a sample of weight 2 counts as two samples of weight 1.
"""

import numpy as np
from scipy import sparse

ROWS = 4096  # whose bits are in memory at once
MIX = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's finaliser


def held_out(X, labels, sample_weight, fraction, key):
    """Return a mask (n,) of the samples that are held out.

    X (n, n_in), dense or CSR; labels (n,): class numbers, for the same share of each class, or
    None; sample_weight (n,): positive; key: an int, from which the choice follows.
    """
    hashes, mask = row_hashes(X, key), np.zeros(X.shape[0], bool)
    if labels is None:
        return _choose(hashes, sample_weight, fraction, 2)
    for label in np.unique(labels):
        of_class = labels == label
        mask[of_class] = _choose(hashes[of_class], sample_weight[of_class], fraction, 1)
    return mask


def _choose(hashes, sample_weight, fraction, at_least):
    """Return a mask of the first groups of equal hashes, with `fraction` of the weight."""
    _, group = np.unique(hashes, return_inverse=True)
    mass = np.bincount(group, sample_weight)
    chosen = np.cumsum(mass) - mass / 2 < fraction * mass.sum()
    chosen[:at_least] = True
    chosen[-1] = False  # something is left to train on
    return chosen[group]


def row_hashes(X, key):
    """Return 64 bits for each row of X (n, n_in), a function of key and its numbers alone."""
    words = np.random.RandomState(key).randint(0, 2**64, X.shape[1], np.uint64) | np.uint64(1)
    if sparse.issparse(X):
        sums = np.zeros(X.data.size + 1, np.uint64)
        np.cumsum(_bits(X.data) * words[X.indices], out=sums[1:])
        return _mixed(sums[X.indptr[1:]] - sums[X.indptr[:-1]])
    parts = [_bits(X[i : i + ROWS]) @ words for i in range(0, X.shape[0], ROWS)]
    return _mixed(np.concatenate(parts))


def _bits(numbers):
    """Return the bits of numbers, in which 0 and -0 are 0."""
    bits = (numbers.astype(np.float64) + 0.0).view(np.uint64)
    return bits ^ (bits >> np.uint64(52))  # else those of small integers end in zeros


def _mixed(x):
    for _ in range(2):
        x = (x ^ (x >> np.uint64(33))) * MIX
    return x
