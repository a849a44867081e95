"""fastbp report: one HTML page about a saved network, which also reads what a visitor draws."""

import os

from fastbp.cli import model_commands
from fastbp.cli.console import log
from fastbp.cli.data_options import read_data
from fastbp.cli.options import add_data, add_model, add_threads
from fastbp.cli.outputs import check_outputs
from fastbp.report import page, run_curves


def report(options):
    """Write the report of a saved network to an HTML file."""
    check_outputs(options)
    net, _ = model_commands.load_model(options.model, options.threads)
    curves = None if options.history is None else run_curves.read_curves(options.history, net.sizes)
    training, _, test, name = read_data(options.data, options.transpose)
    log(f"{options.model}: reading {len(test[1]):,} test images of {name}, measuring ...")
    size = page.write_report(
        options.output, net, training, test, model_name=_last_part(options.model),
        data_name=_last_part(name), curves=curves,
    )  # fmt: skip
    print(f"{options.output}: {size / 1e6:.2f} MB; open it in a browser")


def _last_part(path):
    """Return the last part of a path: who gets the page need not see the folders."""
    return os.path.basename(os.path.normpath(path))


def add_options(parser):
    """Add the options of fastbp report."""
    add = parser.add_argument
    add_model(add)
    add("-o", "--output", default="report.html", metavar="report.html",
        help="the HTML file to write (default: report.html)")  # fmt: skip
    add("--history", metavar="run.csv",
        help="learning curves to show: a file of History.to_csv, or a checkpoint")  # fmt: skip
    add_data(add)
    add_threads(add)
