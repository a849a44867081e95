"""Photos of digits that tests draw: a digit of a data set as ink on paper of many kinds."""

import numpy as np
from PIL import Image, ImageDraw

from fastbp.data import digits

WIDTH, HEIGHT = 480, 640


def paper(colour=(236, 232, 222)):
    """Return a sheet (HEIGHT, WIDTH, 3), of values 0..1."""
    return np.full((HEIGHT, WIDTH, 3), colour) / 255


def put(sheet, digit, colour=(30, 30, 40), size=300, at=(0.5, 0.5)):
    """Return a sheet with a digit (784,), 0..1, drawn in a colour; size: pixels of its 28.

    at: where its middle is, as parts of the width and height that its square leaves.
    """
    ink = Image.fromarray((255 * digit.reshape(28, 28)).astype(np.uint8))
    ink = np.asarray(ink.resize((size, size), Image.Resampling.BICUBIC))[:, :, None] / 255
    left, top = (round(a * (n - size)) for a, n in zip(at, (WIDTH, HEIGHT)))
    sheet = sheet.copy()
    part = sheet[top : top + size, left : left + size]
    part[...] = part * (1 - ink) + ink * np.array(colour) / 255
    return sheet


def rule(sheet, rng, colour, rows=True, columns=False, width=3, distance=32):
    """Return a sheet with ruled lines, a little askew."""
    image = Image.fromarray((255 * sheet).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    tilt, start = rng.uniform(-0.04, 0.04), int(rng.integers(distance))
    for n in range(start - 3 * distance, HEIGHT + 3 * distance, distance):
        if rows:
            draw.line([(0, n), (WIDTH, n + tilt * WIDTH)], colour, width)
        if columns:
            draw.line([(n, 0), (n - tilt * HEIGHT, HEIGHT)], colour, width)
    return np.asarray(image) / 255


def light(sheet, dark=0.45, angle=0.6):
    """Return a sheet in light that falls from 1 in one corner to `dark` in the opposite one."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    t = (np.cos(angle) * x / WIDTH + np.sin(angle) * y / HEIGHT) / (np.cos(angle) + np.sin(angle))
    return sheet * (1 - (1 - dark) * t)[:, :, None]


def shadow(sheet, dark=0.6):
    """Return a sheet across which the soft edge of a shadow lies."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    t = 1 / (1 + np.exp(-(x + 0.4 * y - 0.7 * WIDTH) / 20))
    return sheet * (1 - (1 - dark) * t)[:, :, None]


def noise(sheet, rng, sigma=0.08):
    """Return a sheet with noise, and black and white specks."""
    sheet = sheet + rng.normal(0, sigma, sheet.shape)
    specks = rng.random(sheet.shape[:2])
    sheet[specks < 0.004], sheet[specks > 0.996] = 0, 1
    return sheet


def save(sheet, path, **options):
    """Write a sheet to a file and return its path."""
    image = Image.fromarray((255 * np.clip(sheet, 0, 1)).astype(np.uint8))
    image.save(path, **options)
    return path


# ------------------------------------------------ kinds: functions of (digit, rng, folder)


def plain(digit, rng, folder):
    return save(light(put(paper(), digit)), folder / "photo.png")


def shadowed(digit, rng, folder):
    return save(shadow(put(paper(), digit)), folder / "photo.png")


def lined(digit, rng, folder):
    sheet = rule(paper(), rng, (120, 150, 200))
    return save(light(put(sheet, digit)), folder / "photo.png")


def darkly_lined(digit, rng, folder):
    sheet = rule(paper(), rng, (60, 60, 70))
    return save(light(put(sheet, digit)), folder / "photo.png")


def squared(digit, rng, folder):
    sheet = rule(paper(), rng, (120, 150, 200), columns=True)
    return save(light(put(sheet, digit)), folder / "photo.png")


PENS = (30, 60, 170), (200, 30, 40), (20, 120, 60), (240, 200, 40), (230, 120, 160)


def coloured(digit, rng, folder):
    colour = PENS[rng.integers(len(PENS))]
    return save(light(put(paper(), digit, colour)), folder / "photo.png")


def chalk(digit, rng, folder):
    colour = [(225, 225, 215), (235, 220, 130), (240, 170, 180)][rng.integers(3)]
    sheet = put(paper((38, 62, 50)), digit, colour)
    return save(noise(light(sheet), rng, 0.02), folder / "photo.png")


def neon(digit, rng, folder):
    """A drawing on a black screen, in a pure colour."""
    colour = [(255, 0, 0), (0, 0, 255), (0, 255, 0)][rng.integers(3)]
    return save(put(paper((0, 0, 0)), digit, colour), folder / "photo.png")


def small(digit, rng, folder):
    sheet = put(paper(), digit, size=72, at=rng.uniform(0.05, 0.95, 2))
    return save(light(sheet), folder / "photo.png")


def large(digit, rng, folder):
    return save(light(put(paper(), digit, size=478))[90:560], folder / "photo.png")


def rotated(digit, rng, folder):
    sheet = np.rot90(light(put(paper(), digit)))  # the camera was turned by a quarter
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned clockwise
    return save(sheet, folder / "photo.jpg", exif=exif)


def transparent(digit, rng, folder):
    """A drawing whose paper is transparent, in dark ink or white."""
    pixels = np.zeros((HEIGHT, WIDTH, 4))
    pixels[:, :, :3] = rng.choice([0.1, 1.0])
    pixels[:, :, 3] = put(paper((0, 0, 0)), digit, (255, 255, 255))[:, :, 0]
    return save(pixels, folder / "photo.png")


def noisy(digit, rng, folder):
    return save(noise(light(put(paper(), digit)), rng), folder / "photo.png")


def jpeg(digit, rng, folder):
    sheet = light(put(paper(), digit, (40, 60, 150)))
    return save(noise(sheet, rng, 0.03), folder / "photo.jpg", quality=20)


def specked(digit, rng, folder):
    """A sheet with dots of dirt, and the dark edge of a table beside it."""
    sheet = put(paper(), digit, size=240, at=(0.6, 0.5))
    image = Image.fromarray((255 * sheet).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for x, y in rng.uniform(0, 1, (12, 2)) * (WIDTH, HEIGHT):
        draw.ellipse([x, y, x + 5, y + 5], (60, 50, 40))
    draw.rectangle([0, 0, 30, HEIGHT], (70, 50, 40))
    return save(light(np.asarray(image) / 255), folder / "photo.png")


def image_itself(digit, rng, folder):
    """28 x 28 pixels, white on black."""
    image = Image.fromarray((255 * digit.reshape(28, 28)).astype(np.uint8))
    image.save(folder / "photo.png")
    return folder / "photo.png"


KINDS = [
    plain, shadowed, lined, darkly_lined, squared, coloured, chalk, neon, small, large, rotated,
    transparent, noisy, jpeg, specked, image_itself,
]  # fmt: skip


# ------------------------------------------------ what may not be read rightly


def half_in_shadow(digit, rng, folder):
    """A sheet with the sharp edge of a shadow across the digit."""
    sheet = put(paper(), digit)
    sheet[:, WIDTH // 2 :] *= 0.4
    return save(sheet, folder / "photo.png")


def on_a_table(digit, rng, folder):
    sheet = np.zeros_like(paper()) + np.array((110, 70, 40)) / 255
    sheet[60:-60, 60:-60] = put(paper(), digit, size=240)[60:-60, 60:-60]
    return save(light(sheet), folder / "photo.png")


def two_digits(digit, rng, folder):
    sheet = put(paper(), digit, size=200, at=(0.5, 0.1))
    return save(put(sheet, digit, size=220, at=(0.5, 0.9)), folder / "photo.png")


def a_number(digit, rng, folder):
    """Two digits that are no farther apart than the parts of one may be."""
    sheet = put(paper(), digit, size=200, at=(0.3, 0.5))
    return save(put(sheet, digit, size=200, at=(0.6, 0.5)), folder / "photo.png")


def thin(digit, rng, folder, width, lines):
    """Write a photo of one of the shapes of a digit, drawn with a pen `width` of 1920 pixels."""
    sheet = rule(paper(), rng, (110, 140, 200), width=2) if lines else paper()
    image = Image.fromarray((255 * sheet).astype(np.uint8)).resize((1440, 1920))
    draw = ImageDraw.Draw(image)
    for stroke in digits.SHAPES[digit][0]:
        control = np.array(stroke) - 0.5
        points = (digits._spline(control) @ control) * (350, 500) + (700, 900)
        draw.line([tuple(point) for point in points], (40, 50, 120), width, joint="curve")
    image.save(folder / "thin.jpg", quality=85)
    return folder / "thin.jpg"
