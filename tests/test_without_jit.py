"""The kernels' own tests again, as processes: without the JIT, and with bounds checked.

Without the JIT, line coverage of the kernels can be measured, and is complete. With bounds checked,
compiled code that reads out of range raises: through the serial drivers, since exceptions vanish
inside prange.
"""

import json
import os
import pathlib
import subprocess
import sys

import fastbp

NAMES = "kernels", "rules", "gradcheck"
TESTS = [str(pathlib.Path(__file__).with_name(f"test_{name}.py")) for name in NAMES]
HERE = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(fastbp.__file__).parent


def run(tmp_path, command, **environment):
    environment = os.environ | environment | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_every_line_of_the_kernels_runs_without_the_jit(tmp_path):
    data, report = tmp_path / "coverage", tmp_path / "report.json"
    coverage = ["coverage", "run", f"--data-file={data}", f"--include={PACKAGE / 'kernels.py'}"]
    test = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    run(tmp_path, coverage + test, NUMBA_DISABLE_JIT="1")
    run(tmp_path, ["coverage", "json", f"--data-file={data}", "-o", str(report)])
    (kernels,) = json.loads(report.read_text())["files"].values()
    assert kernels["missing_lines"] == []
    assert kernels["summary"]["num_statements"] > 200


def test_no_kernel_reads_out_of_range(tmp_path):
    keep = "not parallel and not specialisation and not ulp"
    test = ["pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", keep]
    assert " passed" in run(tmp_path, test, NUMBA_BOUNDSCHECK="1")
