"""A folder of four IDX files, named as MNIST's, of generated images: fastbp generate and expand.

Invariant: from the first moment until all is there, there is a record of the training images: with
it the same call goes on, whenever it was killed.
"""

import pathlib

from fastbp.data import generated
from fastbp.data.readers import find

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def write_folder(folder, training, test, about, on_images=None):
    """Write training and test images and their labels; go on where a stopped call left off.

    Parameters
    ----------
    folder : path
        It is made if need be.
    training, test : tuple (count, make_block)
        How many images, and what makes them, see generated.write_generated.
    about : dict
        What both depend on, but for the counts, as JSON can hold it.
    on_images : callable, optional
        on_images(n) is called after each n images, of the test images first.

    Raises
    ------
    FileExistsError
        If a file of a data set is there, and not of a call that was stopped.
    ValueError, OSError
        As write_generated.
    """
    folder = pathlib.Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the folder {folder} cannot be made: {error.strerror}") from None
    pairs = {folder / TEST: test, folder / TRAIN: training}
    if not any(map(generated.is_unfinished, pairs)):
        _check_no_data_set(folder)
    about = {**about, "training": training[0], "test": test[0]}
    generated.begin(folder / TRAIN, training[0], about)
    for path, (count, make_block) in pairs.items():
        generated.write_generated(path, count, make_block, about, on_images)


def _check_no_data_set(folder):
    """Raise FileExistsError if a file of a data set is there: one of both would not be read."""
    for path in sorted(folder.iterdir()):
        if find.is_data_name(path.name):
            raise FileExistsError(f"{path} exists: remove it, or take another folder")
