"""The picture of a report: python -m bench.report_picture [FOLDER OF MNIST].

Trains [784, 100, 10] for a few epochs, writes its report, draws a digit on it in a headless
Chromium, and photographs the top of the page. Needs the extra "test", chromium and chromedriver.
"""

import base64
import pathlib
import random
import sys
import tempfile

import numpy as np

import fastbp
from bench.workload import ROOT  # and the folder of the tests on the path
from fastbp import mnist_loader, network2
from fastbp.report import page, run_curves

import browser  # isort: skip

PICTURE = ROOT / "bench" / "results" / "report.png"
WIDTH, HEIGHT, EPOCHS, WANTED = 1280, 1226, 5, 3
SEVEN = [[(0.27, 0.26), (0.5, 0.24), (0.73, 0.25), (0.62, 0.45), (0.52, 0.65), (0.46, 0.82)]]


def write_report(folder, path):
    """Train the network and write its report to path; folder: where MNIST is, or None."""
    random.seed(1)
    np.random.seed(1)
    training, validation, test = mnist_loader.load_data(folder, pixels=True)
    net, history = network2.Network([784, 100, 10]), fastbp.History()
    net.SGD(training, EPOCHS, 10, 0.5, 5.0, validation, *[True] * 4, callback=history)
    history.to_csv(path.with_suffix(".csv"))
    curves = run_curves.read_curves(path.with_suffix(".csv"))
    how = dict(model_name="model.json", data_name="MNIST", curves=curves)
    page.write_report(path, net, training, test, **how)


def photograph(path):
    """Return a PNG file of the report at path, a seven drawn and an output neuron chosen."""
    with browser.chromium() as driver:
        browser.show(driver, path, WIDTH, HEIGHT)
        driver.find_element("id", "clear").click()
        browser.draw(driver, SEVEN)
        driver.find_elements("css selector", "#outputs button")[WANTED].click()
        browser.wait_for_frame(driver)
        driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        picture = driver.execute_cdp_cmd("Page.captureScreenshot", {})
    return base64.b64decode(picture["data"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.html"
        write_report(sys.argv[1] if len(sys.argv) > 1 else None, report)
        PICTURE.write_bytes(photograph(report))
