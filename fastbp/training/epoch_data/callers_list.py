"""The list of pairs that a caller passes: shuffled in place before each epoch, as in the book."""


class CallersList:
    """A list of pairs (x, y), and the order in which it was given.

    pairs: the list itself, whose order changes, or None where the data are no list: then there is
    nothing to shuffle; given: a copy of it, in its order; was_replaced: whether `pairs` holds other
    pairs than at the beginning.
    """

    def __init__(self, pairs):
        self.pairs, self.was_replaced = pairs, False
        self.note()

    def note(self):
        """Note the pairs in the order in which they are now, as the given one."""
        self.given = None if self.pairs is None else list(self.pairs)

    def shuffle(self, order):
        """Bring the list into the order of an epoch."""
        if self.pairs is not None:
            self.pairs[:] = [self.given[i] for i in order.samples.tolist()]

    def restore(self):
        """Bring the list into the order in which it was given."""
        if self.pairs is not None:
            self.pairs[:] = self.given

    def note_changes(self, order):
        """Take what the list holds now as given, if these are other pairs than `order` put there.

        Returns whether they are.
        """
        changed = len(self.given) != len(self.pairs) or any(
            self.given[i] is not pair for i, pair in zip(order.samples.tolist(), self.pairs)
        )
        if changed:
            self.note()
            self.was_replaced = True
        return changed
