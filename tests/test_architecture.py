"""The rules of the layout: who imports whom, how long a file may be, and what an import costs."""

import ast
import functools
import json
import pathlib
import subprocess
import sys

import fastbp
from fastbp.report import page

PACKAGE = pathlib.Path(fastbp.__file__).parent
# Each part of the package imports from itself and from those before it. Parts in one line import
# nothing of each other.
LEVELS = [
    {"kernels"},
    {"data"},
    {"typing"},  # the names of types, for annotations
    {"schedules"},
    {"training", "mnist_loader", "history"},
    {"distributed"},
    {"mpi"},
    {"network", "expand_mnist"},
    {"network2"},
    {"recipes"},
    {"estimators"},
    {"estimator"},
    {"__init__"},  # fastbp itself, where __version__ is
    {"converters"},
    {"exchange"},
    {"report"},
    {"cli"},
    {"__main__"},
]
ASSETS = sorted((PACKAGE / "report" / "assets").iterdir())  # the parts of the report's page
COMPILERS = {"numba", "llvmlite"}
OPTIONAL = {
    "tqdm", "pooch", "requests", "matplotlib", "PIL",
    "onnx", "onnxruntime", "safetensors", "sklearn", "torch", "mpi4py", "shtab",
    "IPython", "ipywidgets",
}  # fmt: skip
NEEDS_SKLEARN = {"estimator", "estimators"}  # whose classes derive from classes of scikit-learn
# Kernels that Python or Numba's compiler runs, not the compiled code: they may raise.
COMPILE_TIME = {"compiler", "cache", "processes", "emit", "simd", "jit"}
LONGEST, LONGEST_KERNELS, LONGEST_FUNCTION, MOST_ARGUMENTS = 500, 400, 45, 8
LONGEST_ASSET = 250


def name_of(path):
    """Return a module's name within the package, e.g. data.readers or training.engine."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
KERNELS = [name for name in MODULES if name.startswith("kernels.")]


@functools.cache
def tree_of(module):
    return ast.parse(MODULES[module].read_text())


def imports(module, top_level_only=False):
    """Yield the full names of what a module imports."""
    tree = tree_of(module)
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def imported_modules(module):
    """Return the modules of the package that a module imports."""
    found = set()
    for name in imports(module):
        if name.split(".")[0] == "fastbp":
            within = name.removeprefix("fastbp").removeprefix(".")
            while within and within not in MODULES:  # it may be a name in a module
                within = within.rpartition(".")[0]
            found.add(within or "__init__")
    return found


def part_of(module):
    return module.split(".")[0]


def functions_of(module):
    return [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.FunctionDef)]


def test_every_module_belongs_to_a_level():
    assert {part_of(module) for module in MODULES} == set().union(*LEVELS)


def test_imports_never_go_upward():
    level = {part: i for i, parts in enumerate(LEVELS) for part in parts}
    for module in MODULES:
        part = part_of(module)
        for imported in imported_modules(module):
            other = part_of(imported)
            assert other == part or level[other] < level[part], f"{module} imports {imported}"


def test_no_imports_in_a_circle():
    done = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in sorted(imported_modules(module)):
                visit(imported, [*path, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])


def test_only_the_kernels_know_the_compilers():
    for module in MODULES:
        if part_of(module) != "kernels":
            assert not COMPILERS & {name.split(".")[0] for name in imports(module)}, module


def test_one_file_emits_llvm():
    """Others have to do with LLVM's libraries, but build no code."""
    for module in KERNELS:
        emits = any(name.startswith("llvmlite.ir") for name in imports(module))
        assert emits == (module == "kernels.emit"), module


def test_files_are_short():
    lengths = {module: path.read_text().count("\n") for module, path in MODULES.items()}
    assert sorted(lengths.values())[len(lengths) // 2] < 150
    assert max(lengths.values()) <= LONGEST
    assert max(lengths[module] for module in KERNELS) <= LONGEST_KERNELS
    assert max(path.read_text("utf-8").count("\n") for path in ASSETS) <= LONGEST_ASSET


def test_scripts_of_the_page_say_what_is_in_them():
    scripts = [path for path in ASSETS if path.suffix == ".js"]
    assert {path.name for path in scripts} == set(page.SCRIPTS)
    for path in scripts:
        strict, comment, *lines = path.read_text("utf-8").splitlines()
        assert strict == '"use strict";'
        assert comment.startswith("// ")
        assert max(map(len, lines)) <= 100, path


def test_functions_of_kernels_are_short():
    for module in KERNELS:
        for function in functions_of(module):
            body = function.body[-1].end_lineno - function.body[0].lineno
            assert body <= LONGEST_FUNCTION, (module, function.name, body)
            assert len(function.args.args) <= MOST_ARGUMENTS, (module, function.name)


def test_optional_packages_are_imported_where_they_are_used():
    for module in MODULES:
        at_once = [*imports(module, top_level_only=True)]
        roots = {name.split(".")[0] for name in at_once}
        allowed = {"sklearn"} if part_of(module) in NEEDS_SKLEARN else set()
        assert not roots & OPTIONAL - allowed, module
        if part_of(module) not in NEEDS_SKLEARN:
            parts = {part_of(name.removeprefix("fastbp.")) for name in at_once}
            assert not NEEDS_SKLEARN & parts, module


def test_a_package_says_what_is_in_it_and_no_more():
    for module, path in MODULES.items():
        if path.name == "__init__.py" and module not in ("__init__", "cli", "kernels"):
            assert len(tree_of(module).body) == 1, module
            assert ast.get_docstring(tree_of(module)).count(".") == 1, module


def test_import_loads_nothing_optional_and_compiles_nothing():
    code = """
import json, sys, fastbp, fastbp.exchange, fastbp.expand_mnist, fastbp.mpi
from fastbp.kernels import deform, drivers, jit, shuffle
functions = {**vars(deform), **vars(drivers), **vars(shuffle)}
compiled = [n for n, f in functions.items() if getattr(f, "signatures", None)]
compiled += jit._compiled
print(json.dumps([sorted(sys.modules), compiled]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, compiled = json.loads(run.stdout)
    assert not OPTIONAL & set(modules)
    assert compiled == []


def test_kernels_never_raise_print_or_open():
    for module in KERNELS:
        if module.removeprefix("kernels.") in COMPILE_TIME:
            continue
        for function in functions_of(module):
            for node in ast.walk(function):
                assert not isinstance(node, (ast.Raise, ast.Assert)), function.name
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("print", "open"), function.name
