"""Deformations: each kernel against an oracle from the papers, invariants, awkward sizes, threads.

This file also runs with the JIT off, where it must cover every line of kernels/deform.py.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
from conftest import JIT, needs_threads
from numba import njit

from fastbp.expand_mnist import Deformation, deform
from fastbp.kernels import deform as kernels
from fastbp.kernels import jit, layout
from fastbp.kernels.philox import philox_words
from fastbp.kernels.simd import at
from fastbp.training.compute import deform_calls, threads

DTYPES = [np.uint8, np.float32, np.float64]
SIDES = [1, 2, 5, 28, 33, 65] if JIT else [1, 5, 33]
NOTHING = dict(elastic=None, rotation=0, shear=0, scale=0, shift=0)
STRONGEST = dict(elastic=(1000, 0.1), rotation=180, shear=80, scale=90, shift=1000)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def compiled(function):
    """Compile a function that calls kernels, as a driver is, but keep no code of it."""
    return njit(**jit.OPTIONS, _nrt=False, **jit.WHOLE)(function) if JIT else function


def random_images(rng, dtype, n, side):
    X = rng.integers(0, 256, (n, side, side))
    return X.astype(np.uint8) if dtype == np.uint8 else (X / 256).astype(dtype)


# ------------------------------------------------ random numbers

# Counter, key and words, from the test vectors that the authors of Philox publish (Random123).
PHILOX = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


@compiled
def call_philox(words, blocks, key, counter):
    philox_words(at(words, 0), blocks, key, counter)


def words_of(text):
    return tuple(int(word, 16) for word in text.split())


def philox_oracle(counter, key):
    """The ten rounds of the paper, in Python's integers."""
    (a, b, c, d), (k, l) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b = (second >> 32) ^ b ^ k, second % 2**32
        c, d = (first >> 32) ^ d ^ l, first % 2**32
        k, l = (k + 0x9E3779B9) % 2**32, (l + 0xBB67AE85) % 2**32
    return a, b, c, d


@pytest.mark.parametrize(("counter", "key", "wanted"), PHILOX)
def test_philox_of_the_paper(counter, key, wanted):
    counter, key, wanted = map(words_of, (counter, key, wanted))
    assert philox_oracle(counter, key) == wanted
    blocks = 5
    words = np.zeros(4 * blocks, np.uint32)
    call_philox(words, blocks, key, counter[1:])
    for t in range(blocks):
        expected = philox_oracle((t, *counter[1:]), key)
        assert tuple(words[4 * t : 4 * t + 4].tolist()) == expected


@compiled
def call_draw_noise(noise, words, count):
    kernels.draw_noise(at(noise, 0), at(words, 0), count)


def test_noise_is_the_sum_of_four_bytes_of_mean_0(rng):
    words = rng.integers(0, 2**32, kernels.NOISE + 3000, np.uint32)
    words[kernels.NOISE : kernels.NOISE + 2] = 0, 2**32 - 1
    noise = np.zeros(3000, np.float32)
    call_draw_noise(noise, words, 3000)
    expected = words[kernels.NOISE :].view(np.uint8).reshape(-1, 4).sum(axis=1) - 510.0
    np.testing.assert_array_equal(noise, expected)
    assert np.std(noise) == pytest.approx(kernels.BYTES_STD, rel=0.05)


# ------------------------------------------------ affine maps


@compiled
def call_affine_map(side, turn, slant, zoom, move):
    return kernels.affine_map(side, turn, slant, zoom, move)


def rotated(angle):
    """Where a point (right, down) of a picture goes when it turns counter-clockwise."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def leaning(angle):
    """Where a point goes when vertical lines lean to the right: up is -1."""
    return np.array([[1, -np.tan(angle)], [0, 1]])


@pytest.mark.parametrize("side", [1, 28, 29])
def test_the_map_leads_back_where_the_image_was_moved_from(side, rng):
    for which in range(2):
        angle, zoom, move = rng.uniform(-1, 1), rng.uniform(0.5, 2, 2), rng.uniform(-9, 9, 2)
        turn, slant = (angle, 0.0) if which else (0.0, angle)
        forward = np.diag(zoom) @ (rotated(angle) if which else leaning(angle))
        centre = (side - 1) / 2
        points = rng.uniform(0, side, (2, 10))
        moved = forward @ (points - centre) + centre + move[:, None]
        xx, xy, x0, yx, yy, y0 = call_affine_map(side, turn, slant, tuple(zoom), tuple(move))
        back = np.array([[xx, xy], [yx, yy]]) @ moved + np.array([[x0], [y0]])
        np.testing.assert_allclose(back, points, rtol=1e-10, atol=1e-10)


@compiled
def call_draw_map(words, settings, strength):
    return kernels.draw_map(at(words, 0), settings, strength)


def settings_of(side, dtype, counter=(1, 2, 0), **deformation):
    return deform_calls._settings(Deformation(**deformation), side, np.dtype(dtype), *counter)


def drawn_maps(rng, strength=1.0, **limits):
    """The numbers of many maps (6, n), drawn up to these limits."""
    settings = settings_of(1, np.uint8, **NOTHING | limits)
    words = rng.integers(0, 2**32, (2000 if JIT else 500, kernels.NOISE), np.uint32)
    return np.array([call_draw_map(row, settings, strength) for row in words]).T


def assert_uniform(numbers, limit):
    assert np.abs(numbers).max() <= limit * (1 + 1e-12)
    assert np.abs(numbers).max() > 0.97 * limit
    assert numbers.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)
    assert abs(numbers.mean()) < 0.1 * limit


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_angles_are_uniform_up_to_their_limit_times_the_strength(strength, rng):
    xx, xy, _, yx, yy, _ = drawn_maps(rng, strength, rotation=20)
    assert_uniform(np.degrees(np.arctan2(yx, xx)), 20 * strength)
    np.testing.assert_array_equal([xx, xy], [yy, -yx])
    xx, xy, _, yx, yy, _ = drawn_maps(rng, strength, shear=20)
    assert_uniform(np.degrees(np.arctan(xy)), 20 * strength)
    assert (xx == 1).all()
    assert (yx == 0).all()


def test_a_coin_decides_between_rotation_and_shear(rng):
    _, xy, _, yx, *_ = drawn_maps(rng, rotation=20, shear=20)
    assert (xy != 0).all()
    assert 0.4 < np.mean(yx == 0) < 0.6


def test_zooms_and_moves_are_uniform_and_independent(rng):
    xx, _, _, _, yy, _ = drawn_maps(rng, scale=15)
    assert_uniform(1 / xx - 1, 0.15)
    assert_uniform(1 / yy - 1, 0.15)
    _, _, x0, _, _, y0 = drawn_maps(rng, shift=3)
    assert_uniform(x0, 3)
    assert_uniform(y0, 3)
    for one, other in ((xx, yy), (x0, y0)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


# ------------------------------------------------ elastic fields


@compiled
def call_smooth_field(field, product, noise, settings):
    kernels.smooth_field(at(field, 0), at(product, 0), at(noise, 0), settings)


def fields_of(rng, n, side, alpha, sigma):
    """Fields (n, side, side) of the kernel, from noise as it draws it."""
    settings = settings_of(side, np.uint8, elastic=(alpha, sigma))
    rank, width = settings.rank, kernels.width_of(side)
    product, field = (layout.zeros(m * w, np.float32)
                      for m, w in ((rank, kernels.LANES), (side, width)))  # fmt: skip
    fields = np.empty((n, side, side))
    for k in range(n):
        noise = rng.integers(0, 256, (rank * rank, 4)).sum(axis=1) - 510
        call_smooth_field(field, product, noise.astype(np.float32), settings)
        fields[k] = field.reshape(side, width)[:, :side]
    return fields


def scipy_fields(rng, n, side, alpha, sigma):
    """Simard's fields as usually computed: uniform noise, filtered, times alpha; without edges."""
    margin = int(4 * sigma + 0.5)
    noise = rng.uniform(-1, 1, (n, side + 2 * margin, side + 2 * margin))
    fields = scipy.ndimage.gaussian_filter(noise, (0, sigma, sigma), mode="constant")
    return alpha * fields[:, margin : margin + side, margin : margin + side]


@pytest.mark.parametrize("side", SIDES)
def test_a_field_is_K_Z_K_transposed(side, rng):
    settings = settings_of(side, np.uint8, elastic=(36, 2))
    K = settings.basis[: side * settings.rank].reshape(side, -1).astype(float)
    state = rng.bit_generator.state
    (field,) = fields_of(rng, 1, side, 36, 2)
    rng.bit_generator.state = state
    Z = rng.integers(0, 256, (settings.rank**2, 4)).sum(axis=1).reshape(settings.rank, -1) - 510
    np.testing.assert_allclose(field, K @ Z @ K.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("sigma", "rank"), [(0.1, 28), (1, 22), (2, 12), (4, 7), (5, 6), (20, 3)])
def test_the_covariance_is_that_of_a_gaussian_filter(sigma, rank):
    """Exactly, but for what is left out: K K^T against scipy's filter as a matrix."""
    side, margin = 28, int(4 * sigma + 0.5)
    G = scipy.ndimage.gaussian_filter1d(np.eye(side + 2 * margin), sigma, mode="constant")
    G = G[margin : margin + side]
    K = deform_calls.noise_basis(sigma, side)
    assert K.shape == (side, rank)
    covariance = G @ G.T
    np.testing.assert_allclose(K @ K.T, covariance, atol=0.004 * covariance[0, 0])


@pytest.mark.parametrize(("alpha", "sigma"), [(36, 5), (34, 4), (8, 1.5)])
def test_fields_have_the_deviation_and_the_correlation_of_scipys(alpha, sigma, rng):
    n, side = (4000, 28) if JIT else (400, 28)
    ours, theirs = (draw(rng, n, side, alpha, sigma) for draw in (fields_of, scipy_fields))
    tolerance = 0.04 if JIT else 0.12
    predicted = alpha / math.sqrt(3) / (2 * math.sqrt(math.pi) * sigma)
    assert ours.std() == pytest.approx(theirs.std(), rel=tolerance)
    assert ours.std() == pytest.approx(predicted, rel=tolerance)
    for edge in (0, side - 1):  # no damping there
        assert ours[:, edge].std() == pytest.approx(predicted, rel=2 * tolerance)
    for lag in (1, 3, 6, 10):
        wanted = math.exp(-((lag / (2 * sigma)) ** 2))  # of a Gaussian filter, twice
        for axes in ((0, 1, 2), (0, 2, 1)):
            f, g = (np.transpose(fields, axes) for fields in (ours, theirs))
            c, d = ((h[:, lag:] * h[:, :-lag]).mean() / h.var() for h in (f, g))
            assert c == pytest.approx(d, abs=2 * tolerance)
            assert c == pytest.approx(wanted, abs=2 * tolerance)


def test_the_two_fields_of_an_image_are_alike_and_independent():
    """Ramps along x and along y, whose pixels tell how far they were moved, by the same fields."""
    side, n = 28, 300 if JIT else 60
    ramp = np.broadcast_to(np.arange(side, dtype=np.float64), (n, side, side))
    moved = []
    for X in (ramp, ramp.transpose(0, 2, 1)):
        shifts = deform(X, seed=1, **NOTHING | dict(elastic=(36, 5))) - X
        moved.append(shifts[:, 8:20, 8:20])  # at the edges there are zeros beside them
    for shifts in moved:
        assert shifts.std() == pytest.approx(0.163 * 36 / 5, rel=0.06 if JIT else 0.15)
    correlation = np.corrcoef(moved[0].ravel(), moved[1].ravel())[0, 1]
    assert abs(correlation) < (0.15 if JIT else 0.3)


# ------------------------------------------------ resampling


@compiled
def call_resample(out, image, mapping, side, rounding, work):
    mine = kernels.work_of(work, np.intp(0), np.intp(1))
    kernels.resample(at(out, 0), at(image, 0), mapping, side, rounding, mine)


def resampled(image, mapping, field=None):
    """An image, moved by the kernel; field (2, side, side)."""
    side, dtype = len(image), image.dtype
    values = np.float64 if dtype == np.float64 else np.float32
    work = kernels.workspace(1, side, 0, values)
    if field is not None:
        work.field.reshape(2, side, -1)[:, :, :side] = field
    out = np.zeros(image.size, dtype)
    rounding = values(0.5 if dtype == np.uint8 else 0)
    call_resample(out, image.reshape(-1), mapping, side, rounding, work)
    return out.reshape(side, side)


def bilinear(image, x, y):
    """The oracle: the average of the four pixels around (x, y); outside the image all is 0."""
    side = len(image)
    total = np.zeros(x.shape)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for i, j in itertools.product(range(2), range(2)):
        column, row = left + i, top + j
        weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        pixel = image[np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)].astype(float)
        total += np.where(inside, weight * pixel, 0)
    return total


def points_of(mapping, field):
    """Where each pixel comes from, (2, side, side)."""
    y, x = np.indices(field.shape[1:])
    xx, xy, x0, yx, yy, y0 = mapping
    return xx * x + xy * y + x0 + field[0], yx * x + yy * y + y0 + field[1]


def assert_close_pixels(ours, exact):
    if ours.dtype == np.uint8:
        np.testing.assert_allclose(ours, exact, rtol=0, atol=0.5 + 1e-2)
    else:
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-4)  # positions are float32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_resampling_is_bilinear(side, dtype, rng):
    (image,) = random_images(rng, dtype, 1, side)
    for _ in range(3):
        field = rng.normal(0, 3, (2, side, side)).astype(np.float32)
        turn, zoom, move = rng.uniform(-1, 1), rng.uniform(0.5, 2, 2), rng.uniform(-3, 3, 2)
        mapping = call_affine_map(side, turn, 0.0, tuple(zoom), tuple(move))
        ours = resampled(image, mapping, field)
        x, y = points_of(mapping, field.astype(float))
        assert_close_pixels(ours, bilinear(image, x, y))
        theirs = scipy.ndimage.map_coordinates(
            image.astype(float), [y, x], order=1, mode="grid-constant"
        )
        assert_close_pixels(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_whole_shifts_are_exact(side, dtype, rng):
    (image,) = random_images(rng, dtype, 1, side)
    padded = np.pad(image, 40)
    for right, down in ((0, 0), (1, 0), (0, -1), (3, 2), (-4, 5), (37, 0), (0, -40)):
        mapping = call_affine_map(side, 0.0, 0.0, (1.0, 1.0), (float(right), float(down)))
        rolled = np.roll(padded, (down, right), (0, 1))
        wanted = rolled[40:-40, 40:-40] if max(abs(right), abs(down)) < side else 0 * image
        np.testing.assert_array_equal(resampled(image, mapping), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_quarter_turns_are_exact(side, dtype, rng):
    (image,) = random_images(rng, dtype, 1, side)
    for quarters in (-1, 0, 1, 2, 3):
        turn = math.radians(90 * quarters)
        mapping = call_affine_map(side, turn, 0.0, (1.0, 1.0), (0.0, 0.0))
        np.testing.assert_array_equal(resampled(image, mapping), np.rot90(image, quarters))


def test_bytes_are_rounded_to_the_nearest():
    image = np.array([[0, 255], [1, 3]], np.uint8)
    half = (1.0, 0.0, 0.5, 0.0, 1.0, 0.0)  # half a pixel to the left; what comes in is 0
    np.testing.assert_array_equal(resampled(image, half), [[128, 128], [2, 2]])


# ------------------------------------------------ whole images


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_without_deformation_images_stay_as_they_are(side, dtype, rng):
    X = random_images(rng, dtype, 3, side)
    np.testing.assert_array_equal(deform(X, seed=1, **NOTHING), X)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_is_what_the_kernels_make_of_its_random_words(dtype, rng):
    """By the oracle: the same words, map and field, in NumPy."""
    side, seed, epoch, i = 28, 2**40 + 17, 5, 2
    X = random_images(rng, dtype, 3, side)
    chosen = dict(elastic=(30, 4), rotation=25, shear=0, scale=20, shift=2)
    ours = deform(X, [4, 4, 7], seed=seed, epoch=epoch, **chosen)[i]
    settings = settings_of(side, dtype, **chosen)
    rank = settings.rank
    blocks = -(-(kernels.NOISE + 2 * rank**2) // 4)
    key = seed % 2**32, seed >> 32
    words = np.ravel([philox_oracle((t, i, epoch, 0), key) for t in range(blocks)])
    _, angle, *zoom_and_move = words[:6] / 2**31 - 1
    zoom, move = 1 + 0.2 * np.array(zoom_and_move[:2]), 2 * np.array(zoom_and_move[2:])
    forward = np.diag(zoom) @ rotated(np.radians(25) * angle * 0.5)  # a 7 turns half as far
    noise = words[kernels.NOISE :][: 2 * rank**2].astype(np.uint32)
    Z = noise.view(np.uint8).reshape(2, rank, rank, 4).sum(axis=3) - 510.0
    K = settings.basis[: side * rank].reshape(side, rank).astype(float)
    y, x = np.indices((side, side)) - (side - 1) / 2
    points = np.linalg.solve(forward, np.stack([x - move[0], y - move[1]]).reshape(2, -1))
    points = points.reshape(2, side, side) + (side - 1) / 2 + K @ Z @ K.T
    assert_close_pixels(ours, bilinear(X[i], *points))


@pytest.mark.parametrize("dtype", DTYPES)
def test_image_i_of_epoch_e_can_be_made_alone(dtype, rng):
    X = random_images(rng, dtype, 5, 9)
    labels = np.array([1, 0, 7, 3, 1])
    all_of_them = deform(X, labels, seed=3, epoch=8)
    for i in range(5):
        alone = deform(X[i : i + 1], labels[i : i + 1], seed=3, epoch=8, first=i)
        np.testing.assert_array_equal(alone[0], all_of_them[i])


def test_seeds_epochs_and_images_differ(rng):
    X = np.repeat(random_images(rng, np.float64, 1, 12), 3, axis=0)
    made = [deform(X, seed=seed, epoch=epoch) for seed in (0, 1, 2**32) for epoch in (0, 1)]
    images = np.concatenate(made).reshape(18, -1)
    assert len(np.unique(images, axis=0)) == 18


def test_the_halved_classes_rotate_and_lean_half_as_far(rng):
    X = np.repeat(random_images(rng, np.float64, 1, 12), 3, axis=0)
    turned = NOTHING | dict(rotation=40)
    halved = deform(X, [2, 5, 9], seed=1, halved=(2, 9), **turned)
    less, full = (deform(X, seed=1, **turned | dict(rotation=r)) for r in (20, 40))
    np.testing.assert_array_equal(halved, np.stack([less[0], full[1], less[2]]))


@pytest.mark.skipif(not JIT, reason="only compiled code runs on threads")
@needs_threads
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_bits_for_any_number_of_threads_and_calls(dtype, rng, monkeypatch):
    X = random_images(rng, dtype, 101, 28)
    alone = deform(X, seed=5, threads=1)
    monkeypatch.setattr(threads, "usable", lambda limit: limit)
    monkeypatch.setattr(threads, "mode", "always")
    monkeypatch.setattr(deform_calls, "FEW_PIXELS", 0)
    launched, real = [], kernels.deform_images_parallel

    def parallel(*arguments):
        launched.append(arguments[-1])
        real(*arguments)

    parallel.compile = real.compile
    monkeypatch.setattr(kernels, "deform_images_parallel", parallel)
    for n_threads, per_call in ((2, 1000), (3, 1000), (2, 30), (3, 1)):
        monkeypatch.setattr(deform_calls, "PIXELS", per_call * 784)
        launched.clear()
        np.testing.assert_array_equal(deform(X, seed=5, threads=n_threads), alone)
        assert launched == [n_threads] * -(-101 // per_call)


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_warm_up_compiles_all_that_is_called(rng, monkeypatch):
    drivers = kernels.deform_images, kernels.deform_images_parallel
    deform_calls.warm_up(Deformation())
    before = [len(driver.signatures) for driver in drivers]
    monkeypatch.setattr(threads, "mode", "always")
    monkeypatch.setattr(deform_calls, "FEW_PIXELS", 0)
    for dtype, n_threads, chosen in itertools.product(DTYPES, (1, 2), (NOTHING, {})):
        X = random_images(rng, dtype, 3, 5)
        X.flags.writeable = n_threads == 1
        deform(X, seed=1, threads=n_threads, **chosen)
    assert [len(driver.signatures) for driver in drivers] == before


def test_the_parallel_driver_without_threads(rng):
    """So that its lines run without the JIT, too."""
    X = random_images(rng, np.uint8, 4, 5)
    settings = settings_of(5, np.uint8, counter=(9, 0, 0))
    out, flat = np.empty(X.size, np.uint8), X.reshape(-1)
    work = kernels.workspace(2, 5, settings.rank, np.float32)
    with threads.launching(2):
        kernels.deform_images_parallel(out, flat, np.ones(4), settings, work, 2)
    np.testing.assert_array_equal(out.reshape(X.shape), deform(X, seed=9))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_nothing_outside_the_buffers_is_read_or_written(side, dtype, rng, monkeypatch):
    """Surrounded by values that must not change, and that would show: NaN, or 255."""
    guards, buffers = 64, []

    def guarded(count, kind):
        kind = np.dtype(kind)
        whole = np.full(count + 2 * guards, np.nan if kind.kind == "f" else 123, kind)
        buffers.append((whole, whole.copy()))
        whole[guards:-guards] = 0
        return whole[guards:-guards]

    monkeypatch.setattr(layout, "zeros", guarded)
    deform_calls.packed_basis.cache_clear()
    n = 3 if JIT else 1
    X = random_images(rng, dtype, n, side)
    around = np.full((n + 2, side, side), 255 if dtype == np.uint8 else np.nan, dtype)
    around[1:-1] = X
    target = np.full_like(around, 77)
    for limits in (STRONGEST, {}):
        made = deform(around[1:-1], seed=4, out=target[1:-1], **limits)
        assert np.isfinite(made).all()
        assert made.max() <= X.max()
        assert (target[[0, -1]] == 77).all()
    deform_calls.packed_basis.cache_clear()
    assert len(buffers) > 8
    for whole, before in buffers:
        np.testing.assert_array_equal(whole[:guards], before[:guards])
        np.testing.assert_array_equal(whole[-guards:], before[-guards:])
