"""fastbp generate: any number of synthetic digits, in a folder that fastbp train reads."""

from fastbp.cli.console import log
from fastbp.data import arguments, generated, generated_folder, idx_writer
from fastbp.training.monitoring.progress_bar import progress_bar


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
    counts = {"test-count": options.test_count, "count": options.count}
    for name, count in counts.items():
        idx_writer.header(arguments.check_count(name, count, 1))
    arguments.check_count("seed", options.seed, 0)
    test, training = (
        (count, generated.digit_blocks(options.seed, stream))
        for stream, count in enumerate(counts.values())
    )
    about = {"images": "digits", "seed": options.seed, "block": generated.BLOCK}
    progress = False if options.quiet else None
    with progress_bar(progress, sum(counts.values())) as bar:
        generated_folder.write_folder(options.output, training, test, about, bar.update)
    log(f"{options.output}: {options.count:,} training and {options.test_count:,} test images")
