"""fastbp expand --count: any number of deformed images, in a folder that fastbp train reads."""

import os

from fastbp.cli.console import log
from fastbp.cli.data_options import read_data
from fastbp.cli.deform_options import given_limits
from fastbp.data import arguments, generated_folder, idx_writer
from fastbp.data.pixels import Pixels
from fastbp.training import checkpoint
from fastbp.training.epoch_data.deformation import Deformation
from fastbp.training.epoch_data.deformed_blocks import deformed_blocks
from fastbp.training.monitoring.progress_bar import progress_bar

PIXELS = idx_writer.SIDE**2


def add_options(add):
    """Add the options that fastbp expand has for it."""
    add("--count", type=int, metavar="N",
        help="N images, as many as the disk holds, and the test images, as IDX files in the folder "
        "--save. In the first five sixths, image i is training image i mod n of n, deformed anew "
        "for each round; in the last sixth, which train takes for validation, the validation "
        "images stand as they are, in turn. A call that was stopped goes on where it "
        "was")  # fmt: skip
    add("--quiet", action="store_true", help="no progress bar, which --count has")


def expand(options):
    """Write so many deformed images, block by block; see deformed_blocks."""
    count = arguments.check_count("--count", options.count, 1)
    if options.deform is not None or options.sheet is not None:
        raise ValueError(
            "--count is the number of all images, without --deform and without --sheet"
        )
    if not options.save or os.path.splitext(options.save)[1]:
        raise ValueError("--count needs --save FOLDER, for IDX files, a name without a dot")
    arguments.check_count("--seed", options.seed, 0)
    chosen = Deformation(**given_limits(options))
    *sets, name = read_data(options.data, options.transpose)
    training, validation, test = _arrays(sets, name)
    about = {
        "images": "deformed", "seed": options.seed, "deformation": repr(chosen),
        "data": [checkpoint.fingerprint(*both) for both in sets],
    }  # fmt: skip
    make_block = deformed_blocks(count, training, validation, chosen, options.seed)
    n_test = len(test[1])

    def test_block(start, n):
        return tuple(array[start : start + n] for array in test)

    with progress_bar(False if options.quiet else None, count + n_test) as bar:
        both = (count, make_block), (n_test, test_block)
        generated_folder.write_folder(options.save, *both, about, bar.update)
    log(f"{options.save}: {count:,} images for training, from {len(training[1]):,} of {name}")


def _arrays(sets, name):
    """Return the sets as pairs (bytes, labels), or raise ValueError where IDX files hold none."""
    if not all(isinstance(X, Pixels) and X.shape[1] == PIXELS for X, _ in sets):
        raise ValueError(
            f"{name}: the images are no bytes divided by 256, {PIXELS} each, as IDX files hold "
            f"them; write a .pkl.gz file, without --count"
        )
    largest = max(labels.max(initial=0) for _, labels in sets)
    if largest > 255:
        raise ValueError(f"{name}: the largest label is {largest}, expected at most 255, a byte")
    return [(X.array, labels) for X, labels in sets]
