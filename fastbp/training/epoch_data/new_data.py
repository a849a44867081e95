"""What makes new training data in each epoch: a function of the epoch, deformations, or both.

Invariant: nothing is drawn from the global generators here; deformations follow from a seed that is
made of the state of `random` at the start of the run, and that checkpoints keep.
"""

import collections.abc
import dataclasses
import random

from fastbp.data import messages
from fastbp.data.pixels import Pixels
from fastbp.training import group
from fastbp.training.epoch_data import deformation


@dataclasses.dataclass
class NewData:
    """What makes new training data in each epoch.

    function(epoch): returns the data of an epoch, or None for the same in all; deformation: a
    fastbp.expand_mnist.Deformation of their images, or None; seed: of the deformations; first: the
    epoch that the run begins or goes on with; epochs: how many it has; threads: the most that
    deform; buffers: the deformed images of the last even and of the last odd epoch.
    """

    function: object
    deformation: object
    seed: int
    first: int
    epochs: int
    threads: int | None = None
    buffers: list = dataclasses.field(default_factory=lambda: [None, None])

    @classmethod
    def of(cls, data, deform, settings, checkpointer, threads=None):
        """Return the NewData of a call of SGD, or None if its data are the same in each epoch."""
        function = data if is_function(data) else None
        deformation = deformation_of(deform)
        if function is None and deformation is None:
            return None
        first, seed = group.current().from_root(lambda: _begin(checkpointer, settings.epochs))
        return cls(function, deformation, seed, first, settings.epochs, threads)

    def deform(self, X, labels, epoch):
        """Return the images X (n, n_in), deformed for an epoch; labels (n,), or None.

        They are valid until the epoch after the next one is made.
        """
        images = X.array if isinstance(X, Pixels) else X
        out = self.buffers[epoch % 2]  # the other one is being trained on
        if out is None or out.shape != images.shape or out.dtype != images.dtype:
            out = None
        images = self.deformation.apply(
            images, labels, self.seed, epoch, out=out, threads=self.threads
        )
        self.buffers[epoch % 2] = images
        return Pixels(images, X.scale) if isinstance(X, Pixels) else images


def _begin(checkpointer, epochs):
    """Return (the epoch that the run begins or goes on with, the seed of its deformations)."""
    found = checkpointer.peek()
    first = min(found.epoch, max(0, epochs - 1))  # of a run that is complete: its last
    return first, seed_of_run() if found.deform_seed is None else found.deform_seed


def labels_of(Y):
    """Return the labels (n,) of targets (n, n_out); of one output neuron, its targets."""
    return Y.argmax(axis=1) if Y.shape[1] > 1 else Y[:, 0].round().astype(int)


def is_function(data):
    """Tell whether training data are a function of the epoch: to be called, not to be read."""
    return callable(data) and not hasattr(data, "__iter__") and not hasattr(data, "__getitem__")


def seed_of_run():
    """Return a number of 32 bits that the state of `random` determines, drawing nothing from it."""
    generator = random.Random()
    generator.setstate(random.getstate())
    return generator.getrandbits(32)


def deformation_of(deform):
    """Return the Deformation that the argument `deform` of SGD describes, None for None, or raise.

    deform: a dictionary of the arguments of fastbp.expand_mnist.Deformation, or one of these.
    """
    if deform is None:
        return None
    if isinstance(deform, deformation.Deformation):
        return deform
    if not isinstance(deform, collections.abc.Mapping):
        raise TypeError(
            f"deform is {messages.describe(deform)}, expected a dictionary, e.g. "
            f"dict(elastic=(36, 5), rotation=15)"
        )
    known = [field.name for field in dataclasses.fields(deformation.Deformation)]
    for name in deform:
        if name not in known:
            raise ValueError(
                f"deform has {messages.describe(name)}, expected some of {', '.join(known)}"
            )
    try:
        return deformation.Deformation(**deform)
    except (TypeError, ValueError) as error:
        raise type(error)(f"deform: {messages.one_line(error)}") from None
