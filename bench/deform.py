"""Deformed images per second: fastbp against SciPy, and torchvision where it is installed.

And an epoch of training on images that are deformed anew, over one on the images as they are.

Before it is timed, each way deforms ramps, whose pixels tell how far they were moved; fastbp's
images must also be those of SciPy for the same displacements.
"""

import functools
import importlib
import statistics

import numpy as np

from bench import tables, timing
from bench.workload import progress
from fastbp import Pixels
from fastbp.data import messages
from fastbp.expand_mnist import Deformation
from fastbp.recipes import RECIPES
from fastbp.training.compute import threads

TITLE = "Deformed images"
ALPHA, SIGMA = 36, 5
SPREAD = ALPHA / np.sqrt(3) / (2 * np.sqrt(np.pi) * SIGMA)  # pixels by which a pixel is moved
CENTRE = slice(10, 18)  # where no image's edge is near
ELASTIC = Deformation((ALPHA, SIGMA), rotation=0, shear=0, scale=0, shift=0)
FEW, MANY = 500, 20_000  # images in a call of the others, and of fastbp
HEADER = "elastic fields", "threads", "images per second (range)", "over SciPy"
TORCHVISION = "torchvision ElasticTransform, image by image"
EPOCHS = 10  # of a call of SGD: the first images are deformed before it trains


def measure(settings):
    """Return the table."""
    X, rounds = _images(settings), 2 if settings.quick else 15
    ways = _ways(X, settings.cores)
    for (name, n_threads), (_, way) in ways.items():
        progress(f"  {name}, threads: {n_threads} ...")
        _check_spread(name, way)
    _check_against_scipy(X[:200])
    calls = {
        name: functools.partial(timing.seconds_of, way, images)
        for name, (images, way) in ways.items()
    }
    seconds = timing.interleaved(calls, rounds)
    rates = {name: [len(ways[name][0]) / s for s in seconds[name]] for name in ways}
    reason, header = _why_no_torchvision(), HEADER
    left_out = f" torchvision is left out: {reason}." if reason else ""
    if not reason:
        header = (*HEADER, "over torchvision, same threads")
    rows = [_row(*name, rates) for name in ways]
    return (
        f"Images of {settings.data}, 28 x 28; alpha {ALPHA}, sigma {SIGMA}; medians of interleaved "
        f"calls, rates with their ranges, ratios with their quartiles; bilinear. SciPy: "
        f"gaussian_filter and map_coordinates. The last rows also rotate, shear, scale and shift, "
        f"in the same resampling.{left_out}\n\n"
        f"{tables.table(header, rows)}\n{_epochs(settings, max(2, rounds // 3))}"
    )


def _epochs(settings, rounds):
    """Return as text what an epoch with deformations takes, over one without."""
    recipe = RECIPES["simard-2003"]
    X, Y = (np.load(f"{settings.folder}/{name}.npy") for name in "XY")
    data, net = (Pixels(np.rint(X * 256).clip(0, 255).astype(np.uint8)), Y), recipe.network()
    calls = {
        name: functools.partial(net.SGD, data, **recipe.arguments(EPOCHS) | how, verbose=False)
        for name, how in (("plain", dict(deform=None)), ("deformed", {}))
    }
    progress("  epochs of training ...")
    calls["plain"]()  # compiles
    seconds = timing.seconds_interleaved(calls, rounds)
    ratio = tables.quartiles(timing.paired_ratio(seconds["deformed"], seconds["plain"]), 2)
    plain, deformed = (statistics.median(values) / EPOCHS for values in seconds.values())
    return (
        f"An epoch of {tables.network(recipe.sizes, recipe.mini_batch_size)}, float32, momentum: "
        f"{plain:.3f} s, and {deformed:.3f} s with elastic fields and affine maps: {ratio}.\n"
    )


def _images(settings):
    """Return images (n, 28, 28), float32, 0 to 255."""
    X = np.load(f"{settings.folder}/X.npy")[:MANY].reshape(-1, 28, 28)
    return np.rint(X * 256).astype(np.float32)


def _ways(X, cores):
    """Return {(name, threads): (images of a call, function of images)}, the usual way first."""
    few, as_bytes = X[:FEW], X.astype(np.uint8)
    ways = {
        ("SciPy, image by image", 1): (few, by_scipy),
        (f"SciPy, filtering {FEW} at once", 1): (few, functools.partial(by_scipy, at_once=True)),
    }
    if not _why_no_torchvision():
        for n_threads in sorted({1, cores}):
            ways[TORCHVISION, n_threads] = few, functools.partial(by_torchvision, n_threads)
    for name, deformation, images in (
        ("fastbp, float32", ELASTIC, X),
        ("fastbp, bytes", ELASTIC, as_bytes),
        ("fastbp, bytes, and affine maps", Deformation((ALPHA, SIGMA)), as_bytes),
    ):
        for n_threads in sorted({1, cores}):
            ways[name, n_threads] = images, functools.partial(by_fastbp, deformation, n_threads)
    return ways


@functools.cache
def _why_no_torchvision():
    """Return why torchvision cannot be used, as text; it may be built for another PyTorch."""
    try:
        importlib.import_module("torchvision.transforms.v2")
    except (ImportError, RuntimeError) as error:
        return messages.shorten(error, 80)
    return ""


def _row(name, n_threads, rates):
    """Return a row: rates of a way, over SciPy's and, where they are measured, torchvision's."""
    mine, scipy_rates = rates[name, n_threads], rates[next(iter(rates))]
    spread = f"{statistics.median(mine):,.0f} ({min(mine):,.0f}-{max(mine):,.0f})"
    row = name, n_threads, spread, tables.quartiles(timing.paired_ratio(mine, scipy_rates), 1)
    if (TORCHVISION, n_threads) not in rates:
        return row
    theirs = rates[TORCHVISION, n_threads]
    return *row, tables.quartiles(timing.paired_ratio(mine, theirs), 1)


# ------------------------------------------------ the ways


def by_fastbp(deformation, n_threads, X):
    """Return X deformed."""
    mode, threads.mode = threads.mode, "always"
    try:
        return deformation.apply(X, None, 1, 0, threads=n_threads)
    finally:
        threads.mode = mode


def by_scipy(X, at_once=False):
    """Return X deformed as is usual with SciPy."""
    from scipy import ndimage

    rng, (n, side, _), out = np.random.default_rng(1), X.shape, np.empty_like(X)
    y, x = np.indices((side, side))
    smooth = functools.partial(ndimage.gaussian_filter, mode="constant")
    if at_once:
        noise = rng.uniform(-1, 1, (n, 2, side, side))
        fields = ALPHA * smooth(noise, (0, 0, SIGMA, SIGMA))
    for i in range(n):
        if at_once:
            dx, dy = fields[i]
        else:
            dx, dy = (ALPHA * smooth(rng.uniform(-1, 1, (side, side)), SIGMA) for _ in range(2))
        ndimage.map_coordinates(X[i], (y + dy, x + dx), out[i], order=1)
    return out


def by_torchvision(n_threads, X):
    """Return X deformed by torchvision, whose alpha is in half pixels."""
    import torch
    from torchvision.transforms import v2

    torch.manual_seed(1)
    torch.set_num_threads(n_threads)
    transform = v2.ElasticTransform(2.0 * ALPHA, float(SIGMA))
    return np.stack([transform(image)[0].numpy() for image in torch.from_numpy(X)[:, None]])


# ------------------------------------------------ checks


def _ramps(n, axis):
    ramp = np.broadcast_to(np.arange(28, dtype=np.float32), (n, 28, 28))
    return np.ascontiguousarray(ramp if axis else ramp.transpose(0, 2, 1))


def _check_spread(name, way):
    """Raise ValueError unless a way moves pixels by as much as Simard's fields, along x and y."""
    if "affine" in name:
        return
    for axis in range(2):
        X = _ramps(FEW, axis)
        spread = (way(X) - X)[:, CENTRE, CENTRE].std()
        if not 0.92 < spread / SPREAD < 1.08:
            raise ValueError(f"{name} moves pixels by {spread:.2f}, expected {SPREAD:.2f}")


def _check_against_scipy(X):
    """Raise ValueError unless fastbp's bytes are SciPy's for the same displacements."""
    from scipy import ndimage

    for deformation in (ELASTIC, Deformation((ALPHA, SIGMA))):
        x, y = (by_fastbp(deformation, 1, _ramps(len(X), axis)) for axis in (1, 0))
        images = by_fastbp(deformation, 1, X.astype(np.uint8)).astype(float)
        for i in range(len(X)):
            exact = ndimage.map_coordinates(X[i], (y[i], x[i]), order=1)
            if np.abs(images[i] - exact)[CENTRE, CENTRE].max() > 0.51:
                raise ValueError(
                    "fastbp's images are not those of SciPy for the same displacements"
                )
