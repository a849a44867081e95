"""fastbp generate: any number of synthetic digits, in a folder that fastbp train reads."""

import pathlib

from fastbp.cli.console import log
from fastbp.data import arguments, generated, idx_writer
from fastbp.training.progress_bar import progress_bar

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def add_options(parser):
    """Add the options of fastbp generate."""
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FOLDER", help="the folder; it is made if need be")
    add("--count", type=int, default=60_000, metavar="60000",
        help="training images; the last sixth is for validation (default: 60000)")  # fmt: skip
    add("--test-count", type=int, default=10_000, metavar="10000", help="(default: 10000)")
    add("--seed", type=int, default=0, metavar="N", help="the same images for a seed (default: 0)")
    add("--quiet", action="store_true", help="no progress bar")


def generate(options):
    """Write synthetic digits as four IDX files; go on where a call that was stopped left off."""
    counts = {"count": options.count, "test-count": options.test_count}
    for name, count in counts.items():
        idx_writer.header(arguments.check_count(name, count, 1))
    arguments.check_count("seed", options.seed, 0)
    folder = pathlib.Path(options.output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in (TEST, TRAIN)]
    if not any(map(generated.is_unfinished, paths)):
        for path in (p for images in paths for p in idx_writer.pair_of_paths(images)):
            if path.exists():
                raise FileExistsError(f"{path} exists: remove it, or take another folder")
    total, progress = sum(counts.values()), False if options.quiet else None
    with progress_bar(progress, total) as bar:
        for stream, (path, count) in enumerate(zip(paths, (options.test_count, options.count))):
            generated.write_digits(path, count, options.seed, stream, bar.update)
    log(f"{folder}: {options.count:,} training and {options.test_count:,} test images")
