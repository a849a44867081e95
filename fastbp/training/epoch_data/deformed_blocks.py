"""Any number of deformed copies of the images of a data set, made a block at a time.

Invariant: no image is made of a training image that mnist_loader.load_data takes for validation.
"""

import numpy as np

from fastbp.data.readers import image_sets


def deformed_blocks(count, training, validation, deformation, seed):
    """Return the function make_block(start, n) of a training set of `count` images.

    Image i of all but the last sixth is training image i mod n of n, deformed as image i mod n of
    epoch i // n: what Deformation.apply makes of all training images for epoch 0, 1 ..., one
    behind the other. The last sixth, which load_data takes for validation, are the validation
    images as they are, in turn, again and again if need be.

    training, validation: tuples (images (n, side * side) uint8, labels (n,)); deformation: a
    fastbp.expand_mnist.Deformation. make_block returns what data.generated.write_generated wants.
    """
    n_deformed = image_sets.without_last_sixth(count)
    if count > n_deformed and not len(validation[1]):
        raise ValueError(
            "the data set has no images for validation, which the last sixth is made of"
        )

    def make_block(start, n):
        end = start + n
        middle = min(max(start, n_deformed), end)
        parts = [*_deformed(*training, deformation, seed, start, middle)]
        if middle < end:
            rows = np.arange(middle - n_deformed, end - n_deformed) % len(validation[1])
            parts.append(tuple(array[rows] for array in validation))
        images, labels = map(np.concatenate, zip(*parts))
        return images, labels

    return make_block


def _deformed(X, labels, deformation, seed, start, end):
    """Yield (images, labels) of the deformed copies start ... end - 1, a part for each epoch."""
    while start < end:
        epoch, first = divmod(start, len(X))
        rows = slice(first, min(len(X), first + end - start))
        yield deformation.apply_from(first, X[rows], labels[rows], seed, epoch), labels[rows]
        start += rows.stop - first
