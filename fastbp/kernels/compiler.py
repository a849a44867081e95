"""Numba's compiler, made to optimise and assemble each driver or routine once, as a whole.

By itself Numba optimises and assembles every function together with all that it calls, and then
again in its callers: five times for what stands five calls deep, three times for the body of a
prange. The classes here use private names of Numba. They are used with the versions that were
tested only (TESTED); with others, and with FASTBP_PLAIN_COMPILER=1, the plain compiler does the
same at about twice the compile time.
"""

import contextlib
import os

import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target

TESTED = ((0, 68),)  # (major, minor) versions of Numba


class _Part(JITCodeLibrary):
    """Code that is only compiled into its callers."""

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    @property
    def codegen(self):
        return _WithoutEnvironment(self._codegen)


class _WithoutEnvironment:
    def __init__(self, codegen):
        self._codegen = codegen

    def __getattr__(self, name):
        return getattr(self._codegen, name)

    def set_env(self, name, environment):
        pass  # there is no code to be given one


class Part(compiler.Compiler):
    """For functions that only other compiled functions call."""

    def __init__(self, typing, target, library, *rest):
        super().__init__(typing, target, library or _Part(target.codegen(), "part"), *rest)


class Whole(compiler.Compiler):
    """For drivers and routines; the bodies of parallel regions are parts of them."""

    def _compile_core(self):
        codegen = self.state.targetctx.codegen()
        with apart():
            self.state.library = codegen.create_library(self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
            codegen._library_class = _Part
            return super()._compile_core()


@contextlib.contextmanager
def apart():
    """Let what is compiled or loaded meanwhile be no part of a driver that is being compiled."""
    if not is_tested():
        yield
        return
    codegen = cpu_target.target_context.codegen()
    before, codegen._library_class = codegen._library_class, JITCodeLibrary
    try:
        yield
    finally:
        codegen._library_class = before


def is_tested():
    """Tell whether this version of Numba is one that Part and Whole were tested with."""
    version = tuple(int(part) for part in numba.__version__.split(".")[:2])
    return version in TESTED and not os.environ.get("FASTBP_PLAIN_COMPILER")


PART = dict(pipeline_class=Part) if is_tested() else {}
WHOLE = dict(pipeline_class=Whole) if is_tested() else {}
