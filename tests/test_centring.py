"""A drawing made into a digit as MNIST's are: the identity on MNIST, and what does not matter."""

import numpy as np
import pytest

from fastbp import mnist_loader
from fastbp.report.centring import BOX, INK, SIDE, area_weights, centre_digit

DIGITS = mnist_loader.synthetic(0, 0, 20, seed=3)[2][0].reshape(-1, SIDE, SIDE)


def centre_of_mass(image):
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.array([(image * y).sum(), (image * x).sum()]) / image.sum()


def test_mnist_is_left_as_it_is(real_mnist):
    for x in real_mnist[2][0][:300]:
        image = x.reshape(SIDE, SIDE) / x.max()
        assert np.abs(centre_digit(image) - image).mean() < 2e-3


@pytest.mark.parametrize("digit", DIGITS[:6])
def test_the_longer_side_fills_the_box_and_the_mass_is_in_the_middle(digit):
    image = centre_digit(digit)
    assert image.shape == (SIDE, SIDE)
    assert (image.min(), image.max()) == (0, 1)
    rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= BOX
    assert max(np.ptp(rows), np.ptp(columns)) + 1 >= BOX - 1
    assert np.abs(centre_of_mass(image) - SIDE / 2).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("digit", DIGITS)
def test_padding_scale_and_brightness_do_not_matter(digit):
    image = centre_digit(digit)
    np.testing.assert_allclose(centre_digit(np.pad(digit, ((3, 40), (0, 17)))), image, atol=1e-7)
    np.testing.assert_allclose(centre_digit(0.3 * digit), image, atol=1e-6)
    for n in (2, 3, 7):
        large = digit.repeat(n, axis=0).repeat(n, axis=1)
        np.testing.assert_allclose(centre_digit(large), image, atol=1e-6)


def test_faint_ink_is_not_cropped_to():
    digit = np.zeros((50, 50))
    digit[10:30, 20:25] = 1
    dirty = digit.copy()
    dirty[45, 45] = INK / 2
    np.testing.assert_array_equal(centre_digit(dirty), centre_digit(digit))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (20, 20), (19, 21), (1000, 3)])
def test_nasty_sizes(shape):
    image = centre_digit(np.ones(shape))
    assert image.max() == 1
    assert np.count_nonzero(image.any(axis=1)) <= BOX
    assert max(np.count_nonzero(image.any(axis)) for axis in (0, 1)) == BOX


@pytest.mark.parametrize("ink", [np.zeros((28, 28)), np.zeros((0, 0)), np.full((5, 5), np.nan)])
def test_an_empty_drawing(ink):
    with pytest.raises(ValueError, match="the drawing is empty, expected a digit"):
        centre_digit(ink)


@pytest.mark.parametrize(("n", "n_new"), [(1, 20), (20, 1), (20, 20), (28, 20), (20, 28), (300, 7)])
def test_area_weights_average(n, n_new):
    W = area_weights(n, n_new)
    assert W.shape == (n_new, n)
    np.testing.assert_allclose(W.sum(axis=1), 1)
    np.testing.assert_allclose(W.sum(axis=0), n_new / n)
