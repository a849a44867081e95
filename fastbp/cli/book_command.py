"""fastbp book: run the book's experiments, print their table and draw the learning curves."""

import os

from fastbp import mnist_loader
from fastbp.cli import book, machine
from fastbp.cli.console import log
from fastbp.cli.options import add_dtype, add_threads
from fastbp.cli.outputs import check_outputs
from fastbp.data import arguments, files, messages
from fastbp.report import learning_curves
from fastbp.training.compute import threads
from fastbp.training.monitoring.progress_bar import progress_bar


def book_table(options):
    """Run experiments of the book, print their table, and write the files that are asked for."""
    rows = book.select_rows(options.chapter, options.row, options.quick)
    seeds = range(1, 1 + arguments.check_count("seeds", options.seeds, 1))
    if options.pictures:
        learning_curves.pyplot()  # raises now, not after an hour, if matplotlib is missing
    check_outputs(options)
    data = _read_mnist(options.data)
    settings = dict(dtype=options.dtype, threads=options.threads)
    with progress_bar(None, round(sum(row.work for row in rows) * len(seeds))) as bar:
        bar.set_description("the book", refresh=False)
        results = book.run_all(
            rows, data, seeds, **settings, on_work=lambda done: bar.update(round(done))
        )
    text = book.table(rows, results) + "\n" + book.notes(rows) + book.goals(rows, results)
    text += "\n" + _caption(options, len(seeds))
    print(text, end="")
    if options.save is not None:
        if options.pictures:
            path = os.path.relpath(options.pictures, os.path.dirname(options.save) or ".")
            text += f"\n![learning curves]({path})\n"
        with files.write_atomically(options.save) as file:
            file.write(text.encode())
    if options.pictures:
        log("learning rates and gradients, for the pictures ...")
        epochs = (10, 100) if options.quick else (30, 500)
        rates = book.learning_rates(data, epochs=epochs[0], **settings)
        norms = book.gradient_norms(data, epochs=epochs[1], **settings)
        learning_curves.draw(results, rates, norms, options.pictures)
        log(f"drawn to {options.pictures}")


def _caption(options, n_seeds):
    """Return what the table shows, how and on what it was made."""
    given = [
        f" --{name} {getattr(options, name)}"
        for name, default in (("chapter", None), ("row", None), ("dtype", "float64"),
                              ("threads", None))
        if getattr(options, name) != default
    ]  # fmt: skip
    return (
        f"Percent right on MNIST, beside the numbers in the book; {n_seeds} seed(s), "
        f"{options.dtype}, recipes in float32; seconds for one seed, evaluation included, with up "
        f"to {threads.usable(options.threads)} thread(s). {machine.describe()}. Made by "
        f"`fastbp book{' --quick' * options.quick} --seeds {n_seeds}{''.join(given)}`.\n"
    )


def _read_mnist(choice):
    """Return MNIST as load_data does; raise OSError if it is not found (no synthetic digits)."""
    try:
        return mnist_loader.load_data(None if choice == "auto" else choice)
    except mnist_loader.DataNotFoundError as error:
        raise OSError(
            f"the book's results are those of MNIST: {messages.one_line(error)}"
        ) from None


def add_options(parser):
    """Add the options of fastbp book."""
    add = parser.add_argument
    add("--chapter", type=int, metavar="N", help="only this chapter's rows: 1, 3, 5 or 6")
    add("--row", metavar="NAME", help="only this row")
    add("--seeds", type=int, default=3, metavar="3", help="seeds 1 .. N (default: 3)")
    add("--quick", action="store_true", help="some of the rows, in about a minute for one seed")
    add("--data", default="auto", metavar="auto|PATH", help="where MNIST is (default: auto)")
    add_dtype(add)
    add_threads(add)
    add("--save", metavar="book.md", help="write the table to this file, too")
    add("--pictures", metavar="book.png", help="draw the learning curves (extra: report)")
