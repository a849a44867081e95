"""Pictures: read from files, large or damaged ones refused; written to files. Extra: report."""

import os
import warnings

import numpy as np

from fastbp.data import files, messages

MAX_PIXELS = 100_000_000  # of a file; Pillow warns of "decompression bombs" from 89 million on
UNSAFE = {"EPS", "WMF"}  # formats that Pillow leaves to other programs
BLANK = 250  # a picture whose pixels are all above is white


def pillow():
    """Return the modules Image and ImageOps of Pillow, or raise ImportError naming the extra."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError("photos need Pillow: pip install 'fastbp[report]'") from None
    return Image, ImageOps


def read_picture(path, side):
    """Return the picture in a file, upright and without transparency, scaled to a size.

    Parameters
    ----------
    path : path
        A file of any format that Pillow reads by itself; of several pictures in it, the first.
    side : int
        The number of pixels of the longer side of the result.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Red, green and blue, 0..255.

    Raises
    ------
    ImportError
        If Pillow is missing. It is in the extra "report".
    OSError
        If the file cannot be read.
    ValueError
        If it is no picture, damaged, or too large.
    """
    Image, ImageOps = pillow()
    Image.init()
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, and of sizes below MAX_PIXELS
        try:
            with Image.open(file, formats=sorted(set(Image.ID) - UNSAFE)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                image.draft("RGB", (side, side))  # JPEG: decode no more than is needed
                image = _as_rgb(ImageOps.exif_transpose(image), Image)
                size, how = scaled_size(image.size, side), Image.Resampling.BICUBIC
                return np.asarray(image.resize(size, how, reducing_gap=3.0))
        except Image.DecompressionBombError:
            raise ValueError(
                f"{path} has too many pixels, expected at most {MAX_PIXELS:,}; make it smaller"
            ) from None
        except Image.UnidentifiedImageError:
            raise ValueError(
                f"{path} is not a picture that Pillow reads, expected PNG, JPEG or the like, or a "
                f".npy file; save photos of other formats (HEIC, PDF) as JPEG first"
            ) from None
        except Exception as error:  # damaged files make Pillow raise exceptions of many types
            reason = messages.shorten(error)
            raise ValueError(
                f"{path} is a damaged picture: {reason}; save or download it once more"
            ) from None


def _as_rgb(image, Image):
    """Return an image of any mode in RGB; transparent pixels are white, or black under white ink.

    Grey values of more than 8 bits are scaled so that the smallest is black, the largest white.
    """
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
        values -= values.min()
        image = Image.fromarray((values * (255 / max(values.max(), 1e-300))).astype(np.uint8))
    if not (image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info):
        return image.convert("RGB")
    image = image.convert("RGBA")
    for colour in ("white", "black"):
        flat = Image.new("RGBA", image.size, colour)
        flat.alpha_composite(image)
        flat = flat.convert("RGB")
        if min(low for low, _ in flat.getextrema()) <= BLANK:
            break
    return flat


def resized(picture, height, width):
    """Return a picture, an array of uint8, in another size."""
    Image, _ = pillow()
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def scaled_size(size, side):
    """Return two numbers of pixels in proportion to others, the larger one `side`."""
    return [max(1, round(n * side / max(size))) for n in size]


def filtered(array, name, *arguments):
    """Return an array, rounded to bytes, after a filter, one of those in PIL.ImageFilter."""
    Image, _ = pillow()
    from PIL import ImageFilter

    image = Image.fromarray(array.astype(np.uint8))
    return np.asarray(image.filter(getattr(ImageFilter, name)(*arguments)))


def check_picture_name(path):
    """Raise ValueError or OSError unless a picture can be written to a file of this name."""
    Image, _ = pillow()
    _format_of(path, Image)
    files.check_writable(path)


def write_picture(path, image):
    """Write an image of Pillow's to a file; its ending tells the format.

    Raises ValueError for an unknown ending, OSError if the file cannot be written.
    """
    Image, _ = pillow()
    with files.write_atomically(path) as file:
        image.save(file, format=_format_of(path, Image))


def _format_of(path, Image):
    """Return Pillow's name of the format that the ending of a file's name tells."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    name = Image.registered_extensions().get(ending)
    if name not in Image.SAVE:
        raise ValueError(f"{path} ends in {ending!r}, expected e.g. .png or .jpg")
    return name
