"""fastbp book: run the book's experiments, print their table and draw the learning curves."""

import os

from fastbp import mnist_loader
from fastbp.cli import book
from fastbp.cli.console import say
from fastbp.data import arguments, files
from fastbp.report import learning_curves
from fastbp.training.progress_bar import progress_bar


def book_table(options):
    rows = book.chosen(options.chapter, options.row, options.quick)
    seeds = range(1, 1 + arguments.check_count("seeds", options.seeds, 1))
    if options.pictures:
        learning_curves.pyplot()  # said at once, and not after the work
    for path in (options.pictures, options.save):
        if path is not None:
            files.check_writable(path)
    try:
        data = mnist_loader.load_data(None if options.data == "auto" else options.data)
    except mnist_loader.DataNotFoundError as error:
        raise OSError(
            f"the book's results are those of MNIST: {arguments.one_line(error)}"
        ) from None
    with progress_bar(None, round(sum(row.work for row in rows) * len(seeds))) as bar:
        bar.set_description("the book", refresh=False)
        how = dict(dtype=options.dtype, threads=options.threads)
        results = book.run_all(
            rows, data, seeds, **how, on_work=lambda done: bar.update(round(done))
        )
    text = book.table(rows, results) + "\n" + book.notes(rows) + book.goals(rows, results)
    text += (
        f"\nPercent right on MNIST, beside the numbers in the book; {len(seeds)} seed(s), "
        f"{options.dtype}; seconds for one seed, evaluation included. Made by `fastbp book"
        f"{' --quick' * options.quick} --seeds {len(seeds)}`.\n"
    )
    print(text, end="")
    if options.save is not None:
        if options.pictures:
            path = os.path.relpath(options.pictures, os.path.dirname(options.save) or ".")
            text += f"\n![learning curves]({path})\n"
        with files.written_atomically(options.save) as file:
            file.write(text.encode())
    if options.pictures:
        say("learning rates and gradients, for the pictures ...")
        quick = dict(epochs=10) if options.quick else {}
        rates = book.learning_rates(data, **quick, **how)
        quick = dict(epochs=100) if options.quick else {}
        learning_curves.draw(
            results, rates, book.gradient_lengths(data, **quick, **how), options.pictures
        )
        say(f"drawn to {options.pictures}")
