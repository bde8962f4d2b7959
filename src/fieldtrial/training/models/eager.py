"""Defers the import of torch's compiler, torch._dynamo, until something needs it.

torch imports it at the first call of any function that it excludes from compilation, such as a step
of an optimiser, and torchvision as soon as it is imported itself. That takes as long as the import
of torch, in each process.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"
UTILITIES = f"{NAME}.utils"


class DeferredCompiler(ModuleType):
    """Stands in for torch._dynamo until an attribute that it lacks is used."""

    def disable(self, fn: Any = None, *args: Any, **options: Any) -> Any:
        """Return `fn`, excluded from compilation once the compiler itself is loaded."""
        if not inspect.isroutine(fn):  # a module is wrapped by the compiler's own class
            return _load_compiler().disable(fn, *args, **options)
        excluded: list[Callable[..., Any]] = []

        @functools.wraps(fn)
        def call(*own: Any, **named: Any) -> Any:
            if sys.modules.get(NAME) is self:
                return fn(*own, **named)
            if not excluded:
                excluded.append(_load_compiler().disable(fn, *args, **options))
            return excluded[0](*own, **named)

        return call

    def graph_break(self, *_: object, **__: object) -> None:
        """Nothing is compiled, so there is no graph to break."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__spec__", "__file__"):  # looked up on every module by introspection
            raise AttributeError(name)
        return getattr(_load_compiler(), name)


class DeferredUtilities(ModuleType):
    """Stands in for torch._dynamo.utils, of which torchvision.ops imports one function."""

    def is_compile_supported(self, device: Any) -> Any:
        """Return what the function of this name does."""
        return _load_compiler().utils.is_compile_supported(device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # an import looks for a package's __path__
            raise AttributeError(name)
        return getattr(_load_compiler().utils, name)


def _load_compiler() -> Any:
    """Return torch._dynamo itself."""
    if isinstance(sys.modules.get(NAME), DeferredCompiler):
        del sys.modules[NAME], sys.modules[UTILITIES]
        del torch._dynamo
    return importlib.import_module(NAME)


def defer_compiler() -> None:
    """Keep torch and torchvision from importing the compiler before something is compiled."""
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = DeferredCompiler(NAME)
        sys.modules[UTILITIES] = DeferredUtilities(UTILITIES)
