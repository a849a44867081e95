"""Synthetic images of handwritten digits, drawn from stroke shapes, as a replacement of MNIST.

Invariant: the images depend on the labels and the seed alone; the global random generators are
neither read nor changed.
"""

import numpy as np

SIDE = 28  # pixels
BATCH = 128  # images drawn at a time, so that the temporary arrays stay in the processor's cache
SPACING = 1.15  # pixels between points on a curve, a little more than the pen's radius

# For each digit the variants in handwriting; a variant is a list of strokes, a stroke a list of
# points in a unit box, x to the right and y downwards, through which a smooth curve passes. Two
# equal points make a corner.
SHAPES = {
    0: [
        [[(0.55, 0), (0.2, 0.15), (0.05, 0.5), (0.2, 0.87), (0.5, 1), (0.82, 0.85), (0.95, 0.5),
          (0.8, 0.13), (0.55, 0), (0.4, 0.05)]],
        [[(0.7, 0.1), (0.4, 0), (0.12, 0.3), (0.1, 0.7), (0.4, 1), (0.78, 0.85), (0.9, 0.45),
          (0.75, 0.12), (0.55, 0.03)]],
    ],
    1: [
        [[(0.5, 0), (0.5, 0.35), (0.5, 0.7), (0.5, 1)]],
        [[(0.3, 0.22), (0.55, 0), (0.55, 0), (0.53, 0.5), (0.52, 1)]],
        [[(0.62, 0), (0.5, 0.5), (0.4, 1)]],
        [[(0.3, 0.2), (0.52, 0), (0.52, 0), (0.52, 0.5), (0.52, 1)], [(0.25, 1), (0.8, 1)]],
    ],
    2: [
        [[(0.1, 0.25), (0.3, 0.03), (0.65, 0.02), (0.85, 0.25), (0.65, 0.55), (0.35, 0.8),
          (0.08, 1), (0.08, 1), (0.5, 0.98), (0.95, 0.97)]],
        [[(0.12, 0.2), (0.4, 0), (0.75, 0.12), (0.75, 0.4), (0.5, 0.72), (0.2, 0.95), (0.08, 0.85),
          (0.25, 0.75), (0.55, 0.92), (0.95, 0.95)]],
        [[(0.2, 0.12), (0.55, 0), (0.82, 0.2), (0.7, 0.55), (0.1, 1), (0.1, 1), (0.9, 0.9)]],
    ],
    3: [
        [[(0.12, 0.12), (0.45, 0), (0.8, 0.18), (0.65, 0.42), (0.35, 0.48), (0.35, 0.48),
          (0.75, 0.55), (0.88, 0.78), (0.55, 1), (0.08, 0.9)]],
        [[(0.1, 0.03), (0.85, 0.02), (0.85, 0.02), (0.42, 0.4), (0.42, 0.4), (0.85, 0.55),
          (0.8, 0.88), (0.4, 1), (0.08, 0.88)]],
        [[(0.2, 0.1), (0.6, 0), (0.75, 0.22), (0.4, 0.46), (0.4, 0.46), (0.8, 0.68), (0.55, 0.97),
          (0.12, 0.95)]],
    ],
    4: [
        [[(0.2, 0), (0.15, 0.3), (0.12, 0.52), (0.12, 0.52), (0.5, 0.52), (0.9, 0.48)],
         [(0.72, 0.03), (0.7, 0.5), (0.66, 1)]],
        [[(0.65, 0), (0.35, 0.35), (0.05, 0.65), (0.05, 0.65), (0.5, 0.66), (0.95, 0.64)],
         [(0.66, 0.02), (0.66, 0.5), (0.66, 1)]],
        [[(0.25, 0.05), (0.12, 0.45), (0.4, 0.55), (0.8, 0.4), (0.8, 0.4)],
         [(0.85, 0), (0.78, 0.5), (0.7, 1)]],
    ],
    5: [
        [[(0.85, 0), (0.25, 0.03), (0.25, 0.03), (0.18, 0.42), (0.18, 0.42), (0.55, 0.38),
          (0.88, 0.6), (0.75, 0.9), (0.4, 1), (0.08, 0.9)]],
        [[(0.3, 0.05), (0.22, 0.45), (0.22, 0.45), (0.6, 0.42), (0.82, 0.68), (0.55, 0.97),
          (0.1, 0.95)], [(0.3, 0.05), (0.6, 0.06), (0.92, 0)]],
        [[(0.9, 0.02), (0.5, 0.05), (0.32, 0.3), (0.6, 0.5), (0.72, 0.78), (0.42, 1),
          (0.1, 0.92)]],
    ],
    6: [
        [[(0.75, 0), (0.4, 0.2), (0.15, 0.6), (0.25, 0.95), (0.6, 0.98), (0.8, 0.72), (0.55, 0.5),
          (0.22, 0.65)]],
        [[(0.55, 0), (0.25, 0.35), (0.12, 0.75), (0.4, 1), (0.8, 0.88), (0.82, 0.6), (0.5, 0.5),
          (0.18, 0.72)]],
        [[(0.4, 0), (0.22, 0.4), (0.25, 0.85), (0.55, 1), (0.82, 0.82), (0.65, 0.6),
          (0.3, 0.72)]],
    ],
    7: [
        [[(0.08, 0.05), (0.5, 0.04), (0.9, 0.02), (0.9, 0.02), (0.6, 0.5), (0.4, 1)]],
        [[(0.08, 0.15), (0.12, 0.03), (0.12, 0.03), (0.88, 0.03), (0.88, 0.03), (0.62, 0.45),
          (0.45, 1)]],
        [[(0.1, 0.05), (0.85, 0.02), (0.85, 0.02), (0.55, 0.5), (0.35, 1)],
         [(0.3, 0.5), (0.85, 0.46)]],
        [[(0.1, 0.12), (0.5, 0.08), (0.85, 0.05), (0.8, 0.4), (0.68, 1)]],
    ],
    8: [
        [[(0.75, 0.1), (0.4, 0), (0.2, 0.22), (0.5, 0.47), (0.82, 0.75), (0.5, 1), (0.15, 0.8),
          (0.45, 0.5), (0.8, 0.22), (0.65, 0.04)]],
        [[(0.5, 0.47), (0.2, 0.25), (0.5, 0), (0.8, 0.22), (0.5, 0.47), (0.15, 0.75), (0.5, 1),
          (0.85, 0.75), (0.5, 0.47)]],
        [[(0.85, 0.05), (0.35, 0.08), (0.3, 0.35), (0.7, 0.62), (0.65, 0.95), (0.3, 0.95),
          (0.35, 0.62), (0.85, 0.05)]],
    ],
    9: [
        [[(0.8, 0.2), (0.5, 0), (0.15, 0.2), (0.25, 0.48), (0.65, 0.42), (0.82, 0.15),
          (0.8, 0.15), (0.75, 0.6), (0.62, 1)]],
        [[(0.78, 0.12), (0.4, 0.02), (0.18, 0.3), (0.5, 0.5), (0.8, 0.2), (0.8, 0.2), (0.78, 0.6),
          (0.75, 1)]],
        [[(0.75, 0.25), (0.45, 0.02), (0.15, 0.28), (0.45, 0.5), (0.78, 0.15), (0.82, 0.6),
          (0.6, 0.95), (0.2, 0.95)]],
    ],
}  # fmt: skip


def draw(labels, seed):
    """Return an image (n, 784) of uint8 for each label 0..9 of `labels` (n,).

    For each image a variant of the digit, the displacement of its points, slant, rotation, scale,
    shift, pen and ink are drawn from numpy.random.default_rng(seed).
    """
    rng = np.random.default_rng(seed)
    images = np.empty((len(labels), SIDE * SIDE), np.uint8)
    for digit, variants in SHAPES.items():
        of_digit = np.flatnonzero(np.asarray(labels) == digit)
        variant = rng.integers(len(variants), size=len(of_digit))
        for v, strokes in enumerate(variants):
            rows = of_digit[variant == v]
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                images[part] = _ink(_points(strokes, len(part), rng), rng)
    return images


def _points(strokes, n, rng):
    """Return n distorted copies of the strokes: for each stroke points (n, n_points, 2), pixels."""
    shift = rng.normal(0, 1.1, (n, 1, 2))
    scale = rng.normal([7.6, 9.6], [1.1, 0.8], (n, 1, 2))
    slant, angle = rng.normal(0.12, 0.2, (n, 1)), rng.normal(0, 0.1, (n, 1))
    curves = []
    for stroke in strokes:
        control = np.array(stroke) - 0.5
        # The two equal points of a corner get the same displacement, so that it stays a corner.
        _, index = np.unique(control, axis=0, return_inverse=True)
        displacement = rng.normal(0, 0.055, (n, len(control), 2))[:, index.reshape(-1)]
        x, y = np.moveaxis((control + displacement) * 2 * scale, -1, 0)
        x = x - slant * y
        x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        points = np.stack([x, y], axis=-1) + shift + (SIDE - 1) / 2
        curves.append(np.matmul(_spline(control), points).astype(np.float32))
    return curves


def _spline(control):
    """Return the matrix (n_points, k) that maps control points (k, 2) to a Catmull-Rom curve."""
    k = len(control)
    lengths = np.linalg.norm(np.diff(control, axis=0), axis=1) * 17
    rows = []
    for piece, length in enumerate(lengths):
        steps = int(length / SPACING) + 1
        for t in np.arange(steps) / steps:
            row = np.zeros(k)
            basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3,
                     t**3 - t**2)  # fmt: skip
            for weight, point in zip(basis, range(piece - 1, piece + 3)):
                row[min(max(point, 0), k - 1)] += 0.5 * weight
            rows.append(row)
    rows.append(np.eye(k)[-1])
    return np.array(rows)


def _ink(curves, rng):
    """Return images (n, 784), uint8, of the curves drawn with a Gaussian pen.

    A Gaussian is a product of a function of x and one of y, so that the sum over the points of a
    curve is a product of two small matrices: (28, n_points) and (n_points, 28).
    """
    n = len(curves[0])
    width = np.clip(rng.normal(0.95, 0.22, (n, 1, 1)), 0.55, 1.7).astype(np.float32)
    inverse_width = np.float32(np.sqrt(0.5)) / width
    grid = inverse_width * np.arange(SIDE, dtype=np.float32)
    density = np.zeros((n, SIDE, SIDE), np.float32)
    for points in curves:
        length = np.linalg.norm(np.diff(points, axis=1, append=points[:, -1:]), axis=-1)
        pen = (points * inverse_width)[:, :, :, None] - grid[:, :, None]
        np.multiply(pen, -pen, out=pen)
        np.maximum(pen, np.float32(-20), out=pen)  # exp is slow where it would underflow
        np.exp(pen, out=pen)
        across = pen[:, :, 0] * (length[:, :, None] / (np.float32(2.5066) * width))
        density += np.matmul(pen[:, :, 1].transpose(0, 2, 1), across)
    ink = np.clip((density - np.float32(0.16)) * np.float32(1.9), 0, 1)
    pressure = rng.uniform(0.82, 1.0, (n, 1, 1)).astype(np.float32)
    grain = rng.random((n, SIDE, SIDE), np.float32)
    return (255 * ink * pressure * (1 - np.float32(0.25) * grain)).astype(np.uint8).reshape(n, -1)
