"""How kernels are compiled: the one place of jit options.

    @kernel           compiled into its callers
    @routine(types)   compiled once per type of numbers, as a function that all drivers call
    @driver           called from Python; its code is kept in files (cache.py)
    @parallel_driver  a driver, or a function of one, with one prange in it

With NUMBA_DISABLE_JIT=1 all of them leave the Python function as it is.
"""

import functools
import inspect
import re

from llvmlite import binding as llvm
from numba import config, get_num_threads, njit, set_num_threads, typeof, types  # noqa: F401
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import ParallelOptions
from numba.core.errors import TypingError
from numba.extending import lower_builtin, type_callable

from fastbp.kernels import cache, processes  # noqa: F401  (what forks and exits do)
from fastbp.kernels.compiler import PART, WHOLE, apart
from fastbp.kernels.emit import call_symbol

# The default error model's branch on x / 0 stops vectorisation. Views of arrays need not be
# counted where nothing is allocated (_nrt): less to compile. In parallel regions Numba counts.
OPTIONS = dict(error_model="numpy", nogil=True, no_cfunc_wrapper=True)
SYMBOL = "fastbp_routine_{}_{}_{}"
_SYMBOLS = re.compile(SYMBOL.format("(\\w+?)", "(float(?:32|64))", "(plain|rules)").encode())

kernel = njit(**OPTIONS, _nrt=False, no_cpython_wrapper=True, **PART)
# What a routine calls is inlined into it: a mini-batch of one sample takes less than 2 us.
ROUTINE = dict(_nrt=False, no_cpython_wrapper=True, forceinline=True)
# The body of one prange, compiled into the drivers that call it. Numba must not fuse two of these.
NOT_FUSED = ParallelOptions(dict(fusion=False))  # Numba empties a dictionary at its first use
parallel_kernel = njit(**OPTIONS, parallel=NOT_FUSED, no_cpython_wrapper=True, **PART)


def driver(function):
    """Compile a function that Python calls, with all kernels that it calls, and keep its code."""
    return cache.keep(njit(**OPTIONS, _nrt=False, **WHOLE)(function), function, load_routines)


def parallel_driver(function):
    """Compile a driver that calls functions with a prange."""
    return cache.keep(njit(**OPTIONS, **WHOLE)(function), function, load_routines)


def prepare(function, *arguments):
    """Compile a driver for these arguments, or load its code, without calling it."""
    if not config.DISABLE_JIT:
        function.compile(tuple(map(typeof, arguments)))


# ------------------------------------------------ routines

_routines = {}  # by name
_compiled = {}  # Numba's dispatchers by symbol; their code is freed with them


def routine(arguments, result=types.void):
    """Return the decorator for a function that is compiled once, apart from those that call it.

    arguments(dtype): the Numba types of its arguments, for float32 or float64; a dictionary among
    them holds the types of `rules`: "plain" without, "rules" with them. All drivers call the same
    machine code by a symbol: what is large is compiled once, not in every driver.
    """

    def decorate(function):
        name = function.__name__
        _routines[name] = function, arguments, result

        def typer(*kinds):
            key = _key_of(name, kinds)
            _compile(*key)
            return _signature(*key)

        def lower(context, builder, signature, values):
            symbol = SYMBOL.format(*_key_of(name, signature.args))
            return call_symbol(context, builder, symbol, signature, values)

        typer.__signature__ = inspect.signature(function)
        type_callable(function)(lambda context: typer)
        lower_builtin(function, types.VarArg(types.Any))(lower)
        return function

    return decorate


def _key_of(name, kinds):
    """Return the key of the routine that a call with arguments of these types calls."""
    dtype = _dtype_of(kinds)
    if dtype is None:
        raise TypingError(f"{name}: no argument tells whether it is float32 or float64")
    given = zip(kinds, _routines[name][1](dtype))
    with_rules = any(isinstance(a, dict) and k != types.none for k, a in given)
    return name, str(dtype), "rules" if with_rules else "plain"


def _signature(name, dtype, variant):
    """Return the signature of a routine, for a type of numbers, with or without rules."""
    _, arguments, result = _routines[name]
    kinds = arguments(getattr(types, dtype))
    return result(*(kind[variant] if isinstance(kind, dict) else kind for kind in kinds))


def _dtype_of(kinds):
    """Return float32 or float64, by the first place or tuple among these types that tells."""
    for kind in kinds:
        if isinstance(kind, types.BaseTuple):
            members = [k.dtype if isinstance(k, types.CPointer) else k for k in kind.types]
            found = [k for k in members if isinstance(k, types.Float)]
        else:  # a number by itself may be of another type
            found = [kind.dtype] if isinstance(kind, types.CPointer) else []
        if found and isinstance(found[0], types.Float):
            return found[0]
    return None


def _compile(name, dtype, variant):
    """Compile a routine, or load it from its file, and give the process its symbol."""
    symbol = SYMBOL.format(name, dtype, variant)
    with global_compiler_lock:
        if symbol in _compiled:
            return
        function, signature = _routines[name][0], _signature(name, dtype, variant)
        compiled = njit(**OPTIONS, **ROUTINE, **WHOLE)(function)
        with apart():  # a driver that calls it may be half compiled
            cache.keep(compiled, function, load_routines).compile(signature.args)
        code = compiled.overloads[signature.args]
        address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
        llvm.add_symbol(symbol, address)
        _compiled[symbol] = compiled


def load_routines(code):
    """Compile or load the routines whose symbols stand in a driver's code, before it is linked."""
    for found in sorted(set(_SYMBOLS.findall(code))):
        name, dtype, variant = (word.decode() for word in found)
        if name in _routines:
            _compile(name, dtype, variant)


@functools.cache
def typed(*kinds):
    """Return the Numba type of a named tuple class with members of these types."""
    tuple_class, *members = kinds
    if len(set(members)) == 1:
        return types.NamedUniTuple(members[0], len(members), tuple_class)
    return types.NamedTuple(members, tuple_class)
