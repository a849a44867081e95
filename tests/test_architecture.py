"""The laws of the house: who imports whom, and what an import costs."""

import ast
import json
import pathlib
import subprocess
import sys

import fastbp

PACKAGE = pathlib.Path(fastbp.__file__).parent
# Reading order: a module imports only from those before it.
ORDER = [
    "code_cache",
    "kernels",
    "vectors",
    "threads",
    "programs",
    "files",
    "npz",
    "interrupts",
    "pixels",
    "engine",
    "warn",
    "arrays",
    "answers",
    "datasets",
    "checkpoint",
    "reference_path",
    "training",
    "digits",
    "download",
    "bounded_reader",
    "mnist_sets",
    "mnist_idx",
    "mnist_npz",
    "pickled_arrays",
    "mnist_pickle",
    "mnist_csv_header",
    "mnist_csv",
    "mnist_files",
]
ORDER += [
    "mnist_loader",
    "base",
    "network",
    "network2",
    "gradcheck",
    "book",
    "report",
    "__init__",
    "__main__",
]
OPTIONAL = {"tqdm", "pooch", "requests", "matplotlib"}


def imports(module, top_level_only=False):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_its_place():
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted(ORDER)


def test_imports_never_go_upward():
    for place, module in enumerate(ORDER):
        for name in imports(module):
            if name.startswith("fastbp."):
                imported = name.split(".")[1]
                if imported in ORDER:  # else a name of the package itself, e.g. __version__
                    assert ORDER.index(imported) < place, f"{module} imports {imported}"


def test_only_the_kernels_and_their_cache_know_numba_and_they_know_nothing_else():
    for module in ORDER:
        roots = {name.split(".")[0] for name in imports(module)}
        assert ("numba" in roots) == (module in ("code_cache", "kernels", "vectors")), module
        if module == "kernels":
            assert roots == {"numba", "numpy", "fastbp"}


def test_each_file_of_kernels_calls_only_its_own():
    """Numba's cache of vectors.py would not see that a function in kernels.py has changed."""
    taken = {name for name in imports("vectors") if name.startswith("fastbp.")}
    codes = {"SIGMOID", "TANH", "RELU", "LINEAR", "SOFTMAX"}
    assert taken == {f"fastbp.kernels.{name}" for name in {"kernel"} | codes} | {
        "fastbp.code_cache.keep"
    }
    taken = {name for name in imports("kernels") if name.startswith("fastbp.")}
    assert taken == {"fastbp.code_cache.keep", "fastbp.code_cache.uncached"}


def test_optional_packages_are_imported_where_they_are_used():
    for module in ORDER:
        roots = {name.split(".")[0] for name in imports(module, top_level_only=True)}
        assert not roots & OPTIONAL, module


def test_import_loads_nothing_optional_and_compiles_nothing():
    code = """
import json, sys, fastbp
from fastbp import kernels
compiled = [n for n, f in vars(kernels).items() if getattr(f, "signatures", None)]
print(json.dumps([sorted(sys.modules), compiled]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, compiled = json.loads(run.stdout)
    assert not OPTIONAL & set(modules)
    assert compiled == []


def test_kernels_never_raise_print_or_open():
    tree = ast.parse((PACKAGE / "kernels.py").read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name != "kernel":
            for node in ast.walk(function):
                assert not isinstance(node, (ast.Raise, ast.Assert)), function.name
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("print", "open"), function.name
