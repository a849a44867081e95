"""How kernels are compiled: types of routines, one prange per compiled function."""

import ast
import inspect
import pathlib
import threading
import types as types_

import pytest
from conftest import JIT
from numba import types
from numba.core.errors import TypingError

from fastbp.kernels import compiler, drivers, jit, layout, optimizer, processes, simd

ROUTINES = list(jit._routines)
PLAIN, RULES = types.none, optimizer.rules_type(types.float64)


def test_one_prange_per_compiled_function_and_none_elsewhere():
    """Numba fuses pranges that follow each other; it does not see that one reads the other's."""
    seen = set()
    for path in pathlib.Path(drivers.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                calls = [
                    node.func.id
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                ]
                decorators = [node.id for node in function.decorator_list if hasattr(node, "id")]
                is_region = "parallel_kernel" in decorators
                assert calls.count("prange") == is_region, function.name
                seen |= {function.name} if is_region else set()
                assert not is_region or not seen & set(calls), function.name
    names = "stages_parallel", "update_parallel", "sums_parallel", "limit_parallel"
    assert seen == {*names, "deform_parallel"}


@pytest.mark.skipif(not JIT, reason="a property of compiled code")
def test_numba_is_told_not_to_fuse():
    """Whatever the compiler; and the option stays, although Numba takes a dictionary apart."""
    for _ in range(2):
        options = drivers.update_parallel.targetoptions["parallel"]
        assert jit.ParallelOptions(options).prange
        assert not jit.ParallelOptions(options).fusion


@pytest.mark.parametrize("name", ROUTINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", ["plain", "rules"])
def test_a_routine_has_a_type_for_each_argument(name, dtype, variant):
    signature = jit._signature(name, dtype, variant)
    parameters = inspect.signature(jit._routines[name][0]).parameters
    assert len(signature.args) == len(parameters)
    if "rules" in parameters:
        rules = signature.args[list(parameters).index("rules")]
        only_with_rules = name in ("limit_layer", "find_lagging")
        assert (rules == types.none) is (variant == "plain" and not only_with_rules)
    assert jit._key_of(name, signature.args)[:2] == (name, dtype)


def test_the_type_of_numbers_is_that_of_the_first_argument_that_tells():
    net = layout.net_type(types.float32)
    arguments = (types.intp,) * 2
    for rules, variant in ((PLAIN, "plain"), (RULES, "rules")):
        key = jit._key_of("read_input", (net, rules, *arguments, types.intp))
        assert key == ("read_input", "float32", variant)
    with pytest.raises(TypingError, match="multiply: no argument tells whether it is float32 or"):
        jit._key_of("multiply", (types.float64, types.int64))


def test_prepare_compiles_for_the_types_of_its_arguments(monkeypatch):
    seen = []
    driver = type("Driver", (), {"compile": staticmethod(seen.append)})
    for disabled in (1, 0):
        monkeypatch.setattr(jit.config, "DISABLE_JIT", disabled)
        jit.prepare(driver, 1, 2.0)
    assert seen == [(types.int64, types.float64)]


def test_the_routines_that_code_calls_are_loaded_with_it(monkeypatch):
    loaded = []
    monkeypatch.setattr(jit, "_compile", lambda *key: loaded.append(key))
    names = ("update", "float32", "rules"), ("multiply", "float64", "plain")
    others = ("no_such", "float64", "plain"), ("update", "float16", "plain")
    code = "\0".join(jit.SYMBOL.format(*name) for name in (*names, *others, *names))
    jit.load_routines(code.encode())
    assert loaded == sorted(names)


def test_numbas_own_compiler_where_asked_for_or_untested(monkeypatch):
    codegen = compiler.cpu_target.target_context.codegen()
    before = codegen._library_class
    monkeypatch.setenv("FASTBP_PLAIN_COMPILER", "1")
    assert not compiler.is_tested()
    with compiler.apart():
        assert codegen._library_class is before
    monkeypatch.delenv("FASTBP_PLAIN_COMPILER")
    monkeypatch.setattr(compiler.numba, "__version__", "0.1.2")
    assert not compiler.is_tested()


def test_an_exit_takes_the_lock_of_llvm_while_a_thread_compiles(monkeypatch):
    """And otherwise leaves it alone: threads that are none of ours may still need it."""
    lock, done = threading.RLock(), threading.Event()
    library = types_.SimpleNamespace(lib=types_.SimpleNamespace(_lock=lock))
    monkeypatch.setattr(processes, "ffi", library)
    thread = processes.CompilingThread(done.wait)
    processes._stop_compiling()
    assert not lock._is_owned()
    thread.start()
    processes._stop_compiling()
    assert lock._is_owned()
    done.set()
    thread.join()


def test_what_a_compile_thread_raises_is_kept_for_those_who_wait():
    thread = processes.CompilingThread(int, "no number")
    thread.start()
    thread.join()
    assert isinstance(thread.error, ValueError)
    assert thread.seconds >= 0


def test_a_vector_fills_four_registers():
    for dtype in (types.float32, types.float64):
        vector = simd.Vector(dtype, simd.lanes_of(dtype))
        assert vector.lanes * dtype.bitwidth == 8 * simd.VECTOR
