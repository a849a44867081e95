"""The page of promises, bench/results/promises.md, names tests and commands: they exist."""

import ast
import re
from pathlib import Path

import pytest

from bench import endurance

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "bench" / "results" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"tests/\w+\.py(?:::\w+)?", PAGE)))
MODULES = sorted(set(re.findall(r"python -m ([\w.]+)(?: (\w+))?", PAGE)))


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_exists(name):
    path, _, function = name.partition("::")
    functions = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text()))
                 if isinstance(node, ast.FunctionDef)}  # fmt: skip
    assert function in functions if function else any(f.startswith("test") for f in functions)


@pytest.mark.parametrize(("module", "argument"), MODULES)
def test_a_command_that_is_named_exists(module, argument):
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    assert module != "bench.endurance" or argument in {"TRIAL", *endurance.TRIALS}


def test_every_promise_names_a_command():
    rows = re.findall(r"^\| (.+) \| `(.+)` \|$", PAGE, re.M)
    assert len(rows) > 5
    assert all(re.search(r"tests/test_\w+\.py|python -m", command) for _, command in rows)


def test_every_trial_has_a_section():
    for trial in endurance.TRIALS:
        assert PAGE.count(f"<!-- {trial} -->\n") == 2
