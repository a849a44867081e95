"""Connected pieces of ink, and which of them are the digit."""

import dataclasses
import functools

import numpy as np

LEAST_SIZE = 0.05  # of the picture's longer side: pieces below are specks, if there are larger ones
FLAT = 0.25  # height over width
GAP = 0.2  # of the digit's longer side: pieces that are nearer to it belong to it ...
PART = 0.03  # ... if they hold this part of its ink, at least
SECOND = 0.15  # of the ink is in the smaller of two pieces side by side: of 1 in 2500 MNIST digits


@dataclasses.dataclass
class Piece:
    """A connected piece of ink: its box, rows and columns [start, end), and the sum of its ink."""

    top: int
    bottom: int
    left: int
    right: int
    mass: float

    @property
    def size(self):
        return max(self.bottom - self.top, self.right - self.left)

    def is_flat(self):
        """Return whether the piece is as flat as no digit is, but a part of a ruled line may be."""
        return self.bottom - self.top < FLAT * (self.right - self.left)

    def gap(self, other):
        """Return the distance of two boxes in pixels, along the axis on which it is larger."""
        return max(
            other.top - self.bottom, self.top - other.bottom,
            other.left - self.right, self.left - other.right, 0,
        )  # fmt: skip

    def union(self, other):
        """Return a piece of both, in the box that holds their boxes."""
        return Piece(
            min(self.top, other.top), max(self.bottom, other.bottom),
            min(self.left, other.left), max(self.right, other.right), self.mass + other.mass,
        )  # fmt: skip

    def touches_border(self, shape):
        height, width = shape
        return self.top == 0 or self.left == 0 or self.bottom == height or self.right == width


def choose_digit(ink, mask):
    """Return the mask (height, width) of the pixels of a mask that belong to the digit.

    The digit is the piece with most ink among those that are large enough and away from the
    borders, where shadows, fingers and the edges of the paper are; and what is close to it, as the
    bar of a 5 may be apart. If there is no such piece, it is the one with most ink.

    Raises ValueError if the mask is empty.
    """
    labels, pieces = connected_pieces(ink, mask)
    if not pieces:
        raise ValueError("the drawing is empty, expected a digit")
    large = [p for p in pieces if p.size >= LEAST_SIZE * max(ink.shape) and not p.is_flat()]
    inside = [piece for piece in large if not piece.touches_border(ink.shape)]
    digit = max(inside or large or pieces, key=lambda piece: piece.mass)
    chosen, box, least = [digit], digit, PART * digit.mass
    others = [p for p in pieces if p.mass >= least and not p.touches_border(ink.shape)]
    while near := [p for p in others if p not in chosen and p.gap(box) <= GAP * box.size]:
        chosen += near
        box = functools.reduce(Piece.union, near, box)
    return np.array([False, *(piece in chosen for piece in pieces)])[labels]


def are_side_by_side(ink, digit):
    """Tell whether the two pieces with most ink of a digit's mask look like digits of their own."""
    _, pieces = connected_pieces(ink, digit)
    if len(pieces) == 1:
        return False
    second, first = sorted(pieces, key=lambda piece: piece.mass)[-2:]
    is_large = second.mass >= SECOND * sum(piece.mass for piece in pieces)
    return is_large and (first.right <= second.left or second.right <= first.left)


def connected_pieces(ink, mask):
    """Return labels (height, width) and pieces: label n is pieces[n - 1], 0 is no ink.

    Pixels are connected to all eight neighbours.
    """
    row, start, end = _runs(mask)
    root = _connect(row, start, end)
    _, label = np.unique(root, return_inverse=True)
    n = label.max(initial=-1) + 1
    sums = np.concatenate([np.zeros((len(ink), 1)), np.cumsum(ink, axis=1)], axis=1)
    mass = np.bincount(label, sums[row, end] - sums[row, start], n)
    top, left = np.full((2, n), max(mask.shape))
    bottom, right = np.zeros((2, n), int)
    np.minimum.at(top, label, row)
    np.maximum.at(bottom, label, row + 1)
    np.minimum.at(left, label, start)
    np.maximum.at(right, label, end)
    labels = np.zeros(mask.shape, int)
    labels[mask] = np.repeat(label + 1, end - start)
    pieces = zip(top.tolist(), bottom.tolist(), left.tolist(), right.tolist(), mass.tolist())
    return labels, [Piece(*piece) for piece in pieces]


def _runs(mask):
    """Return (row, start, end), arrays: the runs of True in the rows of a mask, in order."""
    change = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(change == 1)
    return row, start, np.nonzero(change == -1)[1]


def _connect(row, start, end):
    """Return for each run the first of the runs that are connected with it."""
    parent = list(range(len(row)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above, runs = 0, list(zip(row.tolist(), start.tolist(), end.tolist()))
    for i, (y, x, x_end) in enumerate(runs):
        # Runs of the row above that end before this one begins are not met by later ones either.
        while runs[above][0] < y - 1 or (runs[above][0] == y - 1 and runs[above][2] < x):
            above += 1
        j = above
        while runs[j][0] == y - 1 and runs[j][1] <= x_end:
            a, b = sorted((root(i), root(j)))
            parent[b] = a
            j += 1
    return np.array([root(i) for i in range(len(runs))], int)
