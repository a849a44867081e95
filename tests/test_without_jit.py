"""Training without the JIT and with Numba's own compiler; coverage of every line of the kernels."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import JIT

import fastbp

HERE = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(fastbp.__file__).parent
NAMES = "kernels", "simd", "rules", "samples", "gradcheck", "code_cache", "jit", "deform"
TESTS = [str(HERE / f"test_{name}.py") for name in NAMES]


def run(tmp_path, command, **environment):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")} | environment
    done = subprocess.run(
        [sys.executable, *command],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_every_line_of_the_kernels_runs_without_the_jit(tmp_path):
    data, report = tmp_path / "coverage", tmp_path / "report.json"
    files = f"--include={PACKAGE / 'kernels' / '*'}"
    coverage = ["-m", "coverage", "run", f"--data-file={data}", files]
    test = ["-m", "pytest", "-q", "-m", "", *TESTS]
    run(tmp_path, coverage + test, NUMBA_DISABLE_JIT="1")
    run(tmp_path, ["-m", "coverage", "json", f"--data-file={data}", "-o", str(report)])
    missed, found = [], json.loads(report.read_text())["files"]
    for path in sorted((PACKAGE / "kernels").glob("*.py")):
        lines = found.pop(os.path.relpath(path, HERE.parent), found.pop(str(path), None))
        compilers = of_the_compiler(path)
        for k in lines["missing_lines"]:
            if k not in compilers:
                missed.append(f"{path.name}:{k}: {path.read_text().splitlines()[k - 1]}")
    assert not missed, "\n".join(["no test runs without the JIT:", *missed])
    assert not found


# Functions that Numba's compiler calls and that no decorator or class marks as such.
CALLED_BY_THE_COMPILER = {
    "jit.py": {"typer", "lower", "_compile"},
    "simd.py": {"_check", "typer", "lower", "_tile_type", "_place_in"},
}


def of_the_compiler(path):
    """Return the lines that run in the compiler only.

    These are methods of types and of compiler classes, what emits LLVM (all functions of emit.py),
    bodies of @overload, and the functions above.
    """
    lines, names = set(), CALLED_BY_THE_COMPILER.get(path.name, ())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            compiles = path.name == "emit.py" or node.name in names or "overload(" in decorators
        elif isinstance(node, ast.ClassDef):
            compiles = path.name == "compiler.py"
        else:
            continue
        if compiles:
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


SAME = """
import numpy as np
from fastbp.training.compute import calls, engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import NO_RULES, Rules
from fastbp.training.compute.samples import Samples
rng = np.random.default_rng(3)
plan = plan_of((70, 33, 5))
X = rng.random((20, 70)) * (rng.random((20, 70)) < 0.2)
samples = Samples(X, rng.random((20, 5)))
for rules in (NO_RULES, Rules(l2=0.01, momentum=0.5, dropout=(0.2, 0.5, 0.0))):
    start = rng.standard_normal(plan.n_params)
    for threads.mode in ("never", "always"):
        threads.usable = lambda limit: 1 if threads.mode == "never" else 2
        params = start.copy()
        moments = [np.zeros_like(params) for _ in range(rules.n_moments)]
        for epoch in range(2):
            order = np.arange(20)
            engine.train(params, plan, samples, order, 7, 0.5, rules=rules, moments=moments)
        print(params.tolist())
print(len(calls._compiling))
"""


@pytest.mark.skipif(not JIT, reason="compares with compiled code")
@pytest.mark.parametrize(
    "way",
    ["NUMBA_DISABLE_JIT", pytest.param("FASTBP_PLAIN_COMPILER", marks=pytest.mark.slow)],
)
def test_the_same_weights_without_the_jit_and_with_numbas_own_compiler(tmp_path, way):
    """On several threads, too: no compiler fuses two pranges."""
    usual = run(tmp_path, ["-c", SAME], NUMBA_CACHE_DIR=os.environ.get("NUMBA_CACHE_DIR", ""))
    other = run(tmp_path, ["-c", SAME], **{way: "1"})
    usual, other = map(json.loads, usual.split("\n")[:-1]), map(json.loads, other.split("\n")[:-1])
    (*usual, calls), (*other, other_calls) = usual, other
    assert calls == other_calls == 2  # drivers that ran in parallel: with rules, and without
    assert usual[0::2] == usual[1::2]
    assert other[0::2] == other[1::2]
    for a, b in zip(usual, other, strict=True):
        assert a == pytest.approx(b, rel=1e-10, abs=1e-12)
        assert way == "NUMBA_DISABLE_JIT" or a == b


@pytest.mark.slow
@pytest.mark.skipif(not JIT, reason="without compiled code there is no cache")
def test_a_changed_kernel_is_seen_although_another_file_calls_it(tmp_path):
    """Numba's own stamp covers the driver's file only."""
    import shutil

    copied = tmp_path / "copy"
    shutil.copytree(PACKAGE, copied / "fastbp", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np
from fastbp.training.compute import engine
from fastbp.training.compute.plans import plan_of
plan = plan_of((3, 2))
print(engine.feedforward(np.zeros(plan.n_params), plan, np.zeros((1, 3)))[0, 0])
"""
    where = dict(PYTHONPATH=str(copied), PYTHONSAFEPATH="1", PYTHONDONTWRITEBYTECODE="1")
    where["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    assert run(tmp_path, ["-c", code], **where) == "0.5\n"
    path = copied / "fastbp" / "kernels" / "activations.py"
    path.write_text(path.read_text().replace("1.0 / (e + 1.0)", "1.0 / (e + 3.0)"))
    assert run(tmp_path, ["-c", code], **where) == "0.25\n"
