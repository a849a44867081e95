"""Pixels stored as bytes, marked as such."""

import numpy as np


class Pixels:
    """An array of bytes X (n, n_in) whose values mean X * scale; nothing is copied."""

    def __init__(self, X, scale=1 / 256):
        self.array, self.scale = X, scale

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, i):
        if isinstance(i, (int, np.integer)):
            return (self.array[i] * self.scale).reshape(-1, 1)
        return Pixels(self.array[i], self.scale)
