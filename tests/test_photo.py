"""Digits in photos: pictures that the tests draw are read as the plain digits are."""

import re
import sys
import warnings

import numpy as np
import pytest
import scipy.ndimage
import sheets
from helpers import refused, run_command, seed_both
from PIL import Image

from fastbp import mnist_loader, network, network2
from fastbp.report import connected_ink, paper, picture_files, ruled_lines
from fastbp.report.centring import centre_digit
from fastbp.report.photo import find_digit, read_photo

DIGITS, LABELS = mnist_loader.synthetic(0, 0, 100, seed=5)[2]
LEAST = 0.8  # of the photos of a kind are read as the plain digits are
UNCLEAR = sheets.specked, sheets.darkly_lined  # of some of which a warning says so
FAST = sheets.shadowed, sheets.lined, sheets.coloured
KINDS = [
    pytest.param(kind, id=kind.__name__, marks=() if kind in FAST else pytest.mark.slow)
    for kind in sheets.KINDS
]


def train(training_data, epochs):
    seed_both(1)
    net = network2.Network([784, 100, 10], cost=network2.LogLikelihoodCost)
    net.SGD(training_data, epochs, 10, 0.1, verbose=False)
    return net


def centred(X):
    return np.array([centre_digit(x.reshape(28, 28)).ravel() for x in X])


@pytest.fixture(scope="module")
def net():
    """Return a network trained on synthetic digits in the middle of their images, as MNIST's."""
    X, labels = mnist_loader.synthetic(3000, 0, 0)[0]
    return train((centred(X), labels), 4)


@pytest.fixture(scope="module")
def mnist_net(real_mnist):
    return train(real_mnist[0], 2)


def share_of_equal(net, X, kind, folder):
    """Return how many of the photos of digits (n, 784) are read as the digits are, 0..1."""
    rng = np.random.default_rng(7)
    plain = net.feedforward(X.T).argmax(axis=0)
    with warnings.catch_warnings():
        if kind in UNCLEAR:
            warnings.simplefilter("ignore", RuntimeWarning)
        photos = [read_photo(kind(x.astype(float), rng, folder)) for x in X]
    share = np.mean(net.feedforward(np.hstack(photos)).argmax(axis=0) == plain)
    print(f"{kind.__name__}: {share:.0%} of {len(X)}")  # pytest -rP shows it
    return share


@pytest.mark.parametrize("kind", KINDS)
def test_photos_of_a_few_synthetic_digits(kind, net, tmp_path):
    assert share_of_equal(net, centred(DIGITS[:8]), kind, tmp_path) >= LEAST


@pytest.mark.slow
@pytest.mark.parametrize("kind", sheets.KINDS, ids=lambda kind: kind.__name__)
def test_photos_of_mnist(kind, real_mnist, mnist_net, tmp_path):
    assert share_of_equal(mnist_net, real_mnist[2][0][:12], kind, tmp_path) >= LEAST


@pytest.mark.parametrize(("kind", "reason"), [
    (sheets.half_in_shadow, "touches the border"),
    (sheets.on_a_table, "more than one digit"),
    (sheets.two_digits, "more than one digit"),
    (sheets.a_number, "more than one digit"),
])  # fmt: skip
def test_a_warning_of_what_may_not_be_the_digit(kind, reason, tmp_path, rng):
    with pytest.warns(RuntimeWarning, match=f"photo.png: .*{reason}.* crop the photo") as warned:
        read_photo(kind(DIGITS[1], rng, tmp_path))
    assert warned[0].filename == __file__


OTHER_FORMATS = "JPEG", "GIF", "TIFF", "BMP", "WEBP"
PENS = {"thin": (8, False), "very thin": (4, False), "thin, lined": (8, True)}


@pytest.mark.slow
@pytest.mark.parametrize("pen", PENS)
def test_thin_pens(pen, net, tmp_path):
    """Strokes of 1/60 or less of the digit's height: they would vanish in 28 x 28 pixels."""
    width, lines = PENS[pen]
    right = 0
    for digit in range(10):
        path = sheets.thin(digit, np.random.default_rng(2), tmp_path, width, lines)
        right += net.feedforward(read_photo(path)).argmax() == digit
    assert right >= 8


# ------------------------------------------------ what does not matter


def test_the_result_is_an_input_of_the_networks(tmp_path):
    path = sheets.plain(DIGITS[0].astype(float), np.random.default_rng(1), tmp_path)
    x = read_photo(path)
    assert x.shape == (784, 1)
    assert x.dtype == np.float64
    assert (x.min(), x.max()) == (0, 255 / 256)
    np.testing.assert_array_equal(read_photo(str(path)), x)


def test_the_modes_of_pillow_show_the_same(tmp_path):
    grey = Image.fromarray((255 * sheets.put(sheets.paper(), DIGITS[1])).astype(np.uint8))
    grey = grey.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    images = {"rgb.png": grey.convert("RGB"), "palette.png": grey.convert("P"), "wide.png": wide,
              "cmyk.tif": grey.convert("CMYK"), "float.tif": grey.convert("F"),
              "alpha.webp": grey.convert("RGBA"), "p.gif": grey.convert("P")}  # fmt: skip
    grey.save(tmp_path / "grey.png")
    wanted = read_photo(tmp_path / "grey.png")
    for name, image in images.items():
        image.save(tmp_path / name)
        assert np.abs(read_photo(tmp_path / name) - wanted).mean() < 0.01, name


@pytest.mark.parametrize("side", [28, 60, 1500])
def test_the_size_does_not_matter(side):
    image = Image.fromarray((255 * sheets.put(sheets.paper(), DIGITS[2])).astype(np.uint8))
    image = image.crop((90, 170, 390, 470))
    wanted = find_digit(np.asarray(image.resize((512, 512))))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    seen = find_digit(np.asarray(image.resize((512, 512), Image.Resampling.BICUBIC)))
    assert np.abs(seen - wanted).mean() < 0.03


# ------------------------------------------------ the steps, against oracles


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (30, 41)])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.4, 0.6, 1.0])
def test_connected_pieces(shape, density, rng):
    mask, ink = rng.random(shape) < density, rng.random(shape)
    labels, pieces = connected_ink.connected_pieces(ink, mask)
    wanted, n = scipy.ndimage.label(mask, np.ones((3, 3)))
    np.testing.assert_array_equal(labels, wanted)
    boxes = scipy.ndimage.find_objects(wanted)
    assert len(pieces) == n == len(boxes)
    for i, (piece, (rows, columns)) in enumerate(zip(pieces, boxes), 1):
        assert (piece.top, piece.bottom) == (rows.start, rows.stop)
        assert (piece.left, piece.right) == (columns.start, columns.stop)
        np.testing.assert_allclose(piece.mass, ink[wanted == i].sum())


def test_the_digit_is_chosen():
    """The large piece with its bar; not the edge of the table, a speck, or a far piece."""
    ink = np.zeros((200, 200))
    ink[80:120, 90:100] = ink[72:76, 90:120] = 1  # the digit, its bar
    wanted = ink > 0
    ink[:, :20] = ink[150:153, 100:103] = ink[80:120, 170:174] = 1
    np.testing.assert_array_equal(connected_ink.choose_digit(ink, ink > 0), wanted)


@pytest.mark.parametrize("shape", [(1, 5), (4, 4), (40, 30)])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_opening(shape, n, rng):
    ink = rng.random(shape)
    wanted = scipy.ndimage.grey_opening(np.pad(ink, ((20, 20), (0, 0)), mode="edge"), (n, 1))
    np.testing.assert_array_equal(ruled_lines.opening(ink, n), wanted[20:-20])


@pytest.mark.parametrize("slope", [-0.06, 0.0, 0.021])
def test_lines_go_and_strokes_stay(slope):
    """But for short ends of lines in the corners."""
    y, x = np.mgrid[0:300, 0:400]
    line = (np.abs((y - slope * x - 30) % 40 - 20) < 1.2).astype(float)
    stroke = (np.abs(x - 200) < 8) & (np.abs(y - 150) < 80)
    ink = np.maximum(line * 0.5, stroke)
    for clean in (ruled_lines.remove_ruled_lines(ink), ruled_lines.remove_ruled_lines(ink.T).T):
        assert (clean[stroke] > 0.4).all()
        left = ~stroke & (clean > 0.1)
        assert left.sum() < 0.15 * line.sum()
        assert left[30:270].sum() < 0.01 * line.sum()


def test_a_short_line_stays():
    """As the bar of a 7 or a 1 does."""
    ink = np.zeros((300, 400))
    ink[100:103, 50:350] = ink[50:250, 200:203] = 1
    np.testing.assert_array_equal(ruled_lines.remove_ruled_lines(ink), ink)


def test_the_paper_is_found_in_uneven_light(rng):
    sheet = sheets.light(sheets.paper())
    picture = (255 * sheets.put(sheet, DIGITS[3])).astype(np.uint8)[::4, ::4]
    found = paper.paper_of(picture) / 255
    assert np.abs(found - sheet[::4, ::4]).max() < 0.05


# ------------------------------------------------ files that are refused


def test_files_that_are_no_photos(tmp_path, monkeypatch):
    good = sheets.plain(DIGITS[0], None, tmp_path).read_bytes()
    path = tmp_path / "x.png"
    for content, message in (
        (b"", "is not a picture that Pillow reads, expected PNG, JPEG"),
        (b"%PDF-1.7", "is not a picture that Pillow reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture that Pillow"),
        (good[: len(good) // 2], "is a damaged picture: "),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as raised:
            read_photo(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read_photo(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        read_photo(tmp_path)


def assert_reads_or_refuses(read, name):
    """Call a function that returns a digit, or raises a ValueError of one line with a name."""
    try:
        digit = read()
    except ValueError as error:
        message = str(error)
    else:
        assert digit.size == 784
        assert 0 <= digit.min() < digit.max() <= 1
        return
    assert message.startswith(f"{name}")
    assert "\n" not in message


@pytest.mark.filterwarnings("ignore:.* crop the photo:RuntimeWarning")
@pytest.mark.parametrize(
    "kind", ["PNG", *(pytest.param(k, marks=pytest.mark.slow) for k in OTHER_FORMATS)]
)
def test_damaged_files_are_read_or_refused_in_one_line(kind, tmp_path, rng):
    pixels = np.full((60, 50), 230, np.uint8)
    pixels[20:45, 22:27] = 20
    path = tmp_path / "x"
    Image.fromarray(pixels).save(path, kind)
    good = path.read_bytes()
    assert read_photo(path).max() == 255 / 256
    for n in range(20):
        content = bytearray(good)
        for i in rng.integers(min(len(good), 80 if n % 2 else len(good)), size=n % 6):
            content[i] = rng.integers(256)
        path.write_bytes(content[: len(good) if n % 5 else rng.integers(len(good))])
        assert_reads_or_refuses(lambda: read_photo(path), path)


@pytest.mark.filterwarnings("ignore:.* crop the photo:RuntimeWarning")
@pytest.mark.parametrize("shape", [(1, 1), (1, 512), (512, 1), (3, 512), (65, 512), (512, 64)])
def test_nasty_sizes(shape, rng):
    for share in (0, 0.02, 0.3, 0.6, 1):
        ink = (rng.random(shape) < share).repeat(3).reshape(*shape, 3)
        picture = np.where(ink, 20, 220).astype(np.uint8)
        assert_reads_or_refuses(lambda picture=picture: find_digit(picture), "the picture")


@pytest.mark.parametrize("side", [11_000, 15_000])
def test_a_decompression_bomb(side, tmp_path):
    """Beyond our own limit; beyond Pillow's, which is about 13,400 x 13,400 pixels."""
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(ValueError, match="too many pixels, expected at most 100,000,000; make"):
        read_photo(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (64, 64), (480, 640)])
@pytest.mark.parametrize("noise", [0, 40])
def test_no_ink(size, noise, tmp_path, rng):
    pixels = 200 + rng.normal(0, noise, (size[1], size[0]))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "x.png")
    if noise and min(size) < 480:
        return  # a few pixels of noise may be anything
    with pytest.raises(ValueError, match=r"x\.png: no ink stands out from the paper, expected"):
        read_photo(tmp_path / "x.png")


def test_a_digit_too_far_away_is_read_from_nearer(tmp_path, net):
    """The advice of the error is followed."""
    sheet = sheets.put(sheets.paper(), DIGITS[1], size=280)
    image = Image.fromarray((255 * sheet).astype(np.uint8))
    far = Image.new("RGB", (4800, 6400), image.getpixel((0, 0)))
    far.paste(image.resize((120, 160)), (2000, 3000))
    far.save(tmp_path / "far.png")
    with pytest.raises(ValueError, match="; take the photo from nearer and in even light"):
        read_photo(tmp_path / "far.png")
    far.crop((1980, 2980, 2140, 3180)).save(tmp_path / "near.png")
    wanted = net.feedforward(centred(DIGITS[1:2]).T).argmax()
    assert net.feedforward(read_photo(tmp_path / "near.png")).argmax() == wanted


def test_no_ink_but_lines(tmp_path):
    sheet = np.full((480, 640), 220, np.uint8)
    sheet[20::40] = sheet[21::40] = 90
    Image.fromarray(sheet).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: there are ruled lines but no ink beside them"):
        read_photo(tmp_path / "x.png")


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"photos need Pillow: pip install 'fastbp\[report\]'"):
        read_photo(tmp_path / "x.png")


# ------------------------------------------------ the command line


@pytest.fixture
def photo(tmp_path):
    return sheets.plain(DIGITS[0].astype(float), np.random.default_rng(1), tmp_path)


MAKE = {
    "outputs": lambda: network.Network([784, 5, 10]),
    "probabilities": lambda: network2.Network([784, 5, 10], cost=network2.LogLikelihoodCost),
}


@pytest.mark.parametrize("name", MAKE)
def test_predict_prints_all_outputs(name, photo, tmp_path):
    net = MAKE[name]()
    net.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", DIGITS[0])
    run = run_command("predict", tmp_path / "model", photo, tmp_path / "x.npy")
    assert run.returncode == 0, run.stderr
    line, other = run.stdout.splitlines()
    output = net.feedforward(read_photo(photo))[:, 0]
    label, values = re.fullmatch(rf"{photo}: (\d) \({name} (.*)\)", line).groups()
    assert int(label) == output.argmax()
    assert values == ", ".join(f"{i}: {value:.3f}" for i, value in enumerate(output))
    assert re.fullmatch(r".*x\.npy: \d \(output \d\.\d\d\d\)", other)


def test_show(photo, tmp_path):
    model, sheet = tmp_path / "m.npz", tmp_path / "seen.png"
    network.Network([784, 5, 10]).save(model)
    np.save(tmp_path / "x.npy", DIGITS[0])
    for images in ([photo], [tmp_path / "x.npy"], [photo] * 6):
        run = run_command("predict", model, *images, "--show", sheet)
        assert run.returncode == 0, run.stderr
        with Image.open(sheet) as image:
            n_columns, n_rows = min(4, len(images)), -(-len(images) // 4)
            assert image.size == (n_columns * 590, n_rows * 290 + 10)
            seen = np.asarray(image.convert("L"))[15:290:10, 305:580:10] / 256
        wanted = DIGITS[0] if images[0] != photo else read_photo(photo)
        np.testing.assert_allclose(seen, wanted.reshape(28, 28), atol=0.01)
    assert not list(tmp_path.glob(".fastbp*"))


def test_npy_files_of_another_size_are_read_as_before(tmp_path):
    net = network.Network([49, 5, 3])
    net.save(tmp_path / "m.npz")
    x = np.linspace(0, 1, 49)
    np.save(tmp_path / "x.npy", x)
    run = run_command("predict", tmp_path / "m.npz", tmp_path / "x.npy")
    label = net.feedforward(x[:, None]).argmax()
    assert run.stdout.startswith(f"{tmp_path / 'x.npy'}: {label} (output "), run.stderr


def test_show_and_photos_are_refused(photo, tmp_path):
    model, small = tmp_path / "m.npz", tmp_path / "small.npz"
    network.Network([784, 5, 10]).save(model)
    network.Network([49, 10]).save(small)
    before = photo.read_bytes()
    for message, arguments in (
        ("the network has 49 inputs, expected 784: photos are made into", [small, photo]),
        ("--show: the network has 49 inputs", [small, photo, "--show", tmp_path / "s.png"]),
        ("s.xyz ends in '.xyz', expected e.g. .png", [model, photo, "--show", "s.xyz"]),
        ("ends in '', expected e.g. .png", [model, photo, "--show", "seen"]),
        ("does not exist", [model, photo, "--show", tmp_path / "no" / "s.png"]),
        ("would replace a file that is read", [model, photo, "--show", photo]),
        ("none.png", [model, tmp_path / "none.png"]),
    ):
        assert message in refused("predict", *arguments)
    assert photo.read_bytes() == before


def test_a_name_without_an_ending_that_pillow_cannot_write(tmp_path):
    with pytest.raises(ValueError, match=r"ends in '\.psd', expected e\.g\. \.png"):
        picture_files.check_picture_name(tmp_path / "x.psd")
