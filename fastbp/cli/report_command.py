"""fastbp report: one HTML page about a saved network, which also reads what a visitor draws."""

from fastbp.cli import model_commands
from fastbp.cli.console import log
from fastbp.cli.data_options import read_data
from fastbp.data import files
from fastbp.report import page, run_curves


def report(options):
    """Write the report of a saved network to an HTML file."""
    files.check_writable(options.output)
    net, _ = model_commands._load(options.model, options.threads)
    curves = None if options.history is None else run_curves.read_curves(options.history)
    training, _, test, name = read_data(options.data, options.transpose)
    log(f"{options.model}: reading {len(test[1]):,} test images of {name}, measuring ...")
    size = page.write_report(
        options.output, net, training, test, model_name=options.model, data_name=name,
        curves=curves,
    )  # fmt: skip
    print(f"{options.output}: {size / 1e6:.2f} MB; open it in a browser")
