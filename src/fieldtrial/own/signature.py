"""The options that an own part takes, read from its source: nothing of it is run.

What cannot be read so, such as a part that is made by a call, takes any option.
"""

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fieldtrial.own.find import Source, find, require
from fieldtrial.own.names import ASKED_FOR, BY_NAME, KINDS

MOST_STEPS = 20  # from import to import, and from class to class
TYPES: Mapping[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}
LITERAL: Any = Literal  # as values, for types that are made here
TUPLE: Any = tuple
LISTS = ("list", "List", "Sequence")  # of any length, as tuple[int, ...] is
Callee = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Option:
    """hint: the option's type, None where it has none that is read. is_required: as it says."""

    hint: Any
    is_required: bool


@dataclass(frozen=True)
class Signature:
    """options: of a part, by their names. takes_any: whether it takes others, too."""

    options: Mapping[str, Option] = field(default_factory=dict)
    takes_any: bool = False


def read(kind: str, name: str, roots: Sequence[Path]) -> Signature:
    """Return the options that the own part `name` of a kind takes.

    Raises:
        ValueError: there is no such module, nothing of the name in it, or it is no callable; it
            takes fewer arguments than its kind is given. The message is one line.
    """
    module, _, attribute = name.partition(":")
    source = require(module, roots, attribute)
    found = _find_callee(source, attribute, roots, MOST_STEPS)
    if found is None:
        return Signature(takes_any=True)
    signature = _signature(*found, roots, MOST_STEPS)
    if signature is None:
        return Signature(takes_any=True)
    parameters, takes_more, takes_any = signature
    given = KINDS[kind]
    positional = [one for one in parameters if one.is_positional]
    if len(positional) < len(given) and not takes_more:
        takes = ", ".join(one.name for one in positional) or "nothing"
        raise ValueError(f"it takes {takes}, and is given {', '.join(given)}")
    own = parameters[min(len(given), len(positional)) :]
    by_name = BY_NAME.get(kind, ())
    if lacking := [one for one in by_name if not takes_any and one not in {p.name for p in own}]:
        raise ValueError(f"it does not take {', '.join(lacking)}, which it is given by name")
    apart = (*by_name, *ASKED_FOR.get(kind, ()))
    options = {one.name: one.option for one in own if one.is_named and one.name not in apart}
    return Signature(options, takes_any)


@dataclass(frozen=True)
class _Parameter:
    name: str
    option: Option
    is_positional: bool = True
    is_named: bool = True


_Parameters = tuple[list[_Parameter], bool, bool]  # and whether there are *args and **kwargs


def _find_callee(
    source: Source, name: str, roots: Sequence[Path], steps: int
) -> tuple[Source, Callee] | None:
    """Return where a function or class is defined; None where the source does not say it.

    Raises ValueError where there is nothing of the name, or something that cannot be called.
    """
    if not steps:
        return None
    tree = parsed(source.path)
    found: ast.AST | None = None
    for statement in statements(tree):
        if name in _defined(statement):
            found = statement  # the last definition counts
    if isinstance(found, ast.FunctionDef | ast.ClassDef):
        return source, found
    if isinstance(found, ast.ImportFrom):
        original = next(one.name for one in found.names if (one.asname or one.name) == name)
        return _follow(source, found, original, roots, steps)
    if isinstance(found, ast.Assign | ast.AnnAssign):
        if isinstance(found.value, ast.Name) and found.value.id != name:
            return _find_callee(source, found.value.id, roots, steps - 1)
        if isinstance(found.value, ast.Constant | ast.List | ast.Tuple | ast.Dict):
            raise ValueError(f"{name} in {source.path} is no function and no class")
        return None
    if found is not None:
        raise ValueError(f"{name} in {source.path} is no function and no class")
    stars = [one for one in statements(tree) if isinstance(one, ast.ImportFrom) and _is_star(one)]
    for star in stars:
        try:
            return _follow(source, star, name, roots, steps)
        except ValueError:
            continue
    has_any = any(isinstance(one, ast.FunctionDef) and one.name == "__getattr__"
                  for one in tree.body)  # fmt: skip
    if stars or has_any:
        return None
    there = sorted({one.name for one in statements(tree) if isinstance(one, Callee)})
    raise ValueError(f"{source.path} has no {name}; it has {', '.join(there) or 'nothing'}")


def _follow(
    source: Source, statement: ast.ImportFrom, name: str, roots: Sequence[Path], steps: int
) -> tuple[Source, Callee] | None:
    """Return what `from x import name` leads to; None where it leads out of Python source."""
    module = imported(source, statement)
    there = find(module, (source.root, *roots)) if module else None
    return _find_callee(there, name, roots, steps - 1) if there else None


def imported(source: Source, statement: ast.ImportFrom) -> str:
    """Return the module that a statement `from x import ...` names; "" if it leads nowhere."""
    if not statement.level:
        return statement.module or ""
    parts = source.package.split(".") if source.package else []
    if statement.level - 1 > len(parts):
        return ""
    above = parts[: len(parts) - statement.level + 1]
    return ".".join([*above, *([statement.module] if statement.module else [])])


def _is_star(statement: ast.ImportFrom) -> bool:
    return statement.names[0].name == "*"


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield a module's statements, those under `if` and `try` too, but not those in functions."""
    left = list(reversed(tree.body))
    while left:
        statement = left.pop()
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            inner = [*statement.body, *getattr(statement, "orelse", [])]
            inner += getattr(statement, "finalbody", [])
            for handler in getattr(statement, "handlers", []):
                inner += handler.body
            left += reversed(inner)


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.ImportFrom):
        return [one.asname or one.name for one in statement.names]
    if isinstance(statement, ast.Import):
        return [one.asname or one.name.partition(".")[0] for one in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    return [one.id for one in targets if isinstance(one, ast.Name)]


def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree. Raises ValueError where it is no Python, or cannot be read."""
    try:
        stat = path.stat()
        return _parsed(path, stat.st_mtime_ns, stat.st_size)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, _changed: int, _size: int) -> ast.Module:
    return ast.parse(path.read_bytes())


def _signature(
    source: Source, callee: Callee, roots: Sequence[Path], steps: int
) -> _Parameters | None:
    """Return what a function or a class takes, without self; None where its source is elsewhere."""
    if isinstance(callee, ast.FunctionDef):
        return _of_function(callee)
    for statement in callee.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            parameters, takes_more, takes_any = _of_function(statement)
            return parameters[1:], takes_more, takes_any
    bases = [] if not steps else [_base(source, base, roots, steps) for base in callee.bases]
    if _is_dataclass(callee):
        own = [_of_field(one) for one in callee.body if isinstance(one, ast.AnnAssign)]
        inherited = [one for base in bases if base for one in base[0]]
        known = {one.name: one for one in (*inherited, *filter(None, own))}
        return list(known.values()), False, None in bases
    if not callee.bases:
        return [], False, False
    return next((base for base in bases if base), None)


def _base(source: Source, base: ast.expr, roots: Sequence[Path], steps: int) -> _Parameters | None:
    """Return what a base class takes, if it is in files beside the class, else None."""
    if not isinstance(base, ast.Name):
        return None
    try:
        found = _find_callee(source, base.id, roots, steps - 1)
    except ValueError:
        return None
    if found is None or found[0].root not in (source.root, *roots):
        return None
    return _signature(*found, roots, steps - 1)


def _is_dataclass(callee: ast.ClassDef) -> bool:
    named = (one.func if isinstance(one, ast.Call) else one for one in callee.decorator_list)
    return any(ast.unparse(one).rpartition(".")[2] == "dataclass" for one in named)


def _of_field(statement: ast.AnnAssign) -> _Parameter | None:
    """Return the parameter that a dataclass's field is, None for what is no field."""
    if not isinstance(statement.target, ast.Name):
        return None
    if ast.unparse(statement.annotation).startswith(("ClassVar", "typing.ClassVar")):
        return None
    option = Option(hint_of(statement.annotation), statement.value is None)
    return _Parameter(statement.target.id, option)


def _of_function(callee: ast.FunctionDef) -> _Parameters:
    arguments = callee.args
    before = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(before) - len(arguments.defaults))
    defaults += arguments.defaults
    parameters = [
        _Parameter(
            one.arg,
            Option(hint_of(one.annotation), default is None),
            is_named=one not in arguments.posonlyargs,
        )
        for one, default in zip(before, defaults, strict=True)
    ]
    parameters += [
        _Parameter(one.arg, Option(hint_of(one.annotation), default is None), is_positional=False)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return parameters, arguments.vararg is not None, arguments.kwarg is not None


def hint_of(annotation: ast.expr | None) -> Any:
    """Return an annotation as a type that `fields.values` checks, None where it is no such type.

    These are int, float, str, bool, Literal of texts, tuples and lists of these, and each `| None`.
    """
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return hint_of(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return None
    if isinstance(annotation, ast.Name):
        return TYPES.get(annotation.id)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = (annotation.left, annotation.right)
        kept = [one for one in sides if not (isinstance(one, ast.Constant) and one.value is None)]
        inner = hint_of(kept[0]) if len(kept) == 1 else None
        return None if inner is None else inner | None
    if isinstance(annotation, ast.Subscript):
        return _of_subscript(ast.unparse(annotation.value).rpartition(".")[2], annotation.slice)
    return None


def _of_subscript(name: str, index: ast.expr) -> Any:
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    if name == "Literal":
        texts = [one.value for one in items if isinstance(one, ast.Constant)]
        is_whole = len(texts) == len(items) and all(isinstance(one, str) for one in texts)
        return LITERAL[tuple(texts)] if is_whole else None
    if name == "Optional":
        inner = hint_of(index)
        return None if inner is None else inner | None
    if name in LISTS:
        inner = hint_of(index)
        return None if inner is None else TUPLE[inner, ...]
    if name not in ("tuple", "Tuple"):
        return None
    ends_open = isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis
    inners = [hint_of(one) for one in (items[:-1] if ends_open else items)]
    if None in inners or len({*inners}) > 1:  # of one type: as the fields of a config are
        return None
    return TUPLE[inners[0], ...] if ends_open else TUPLE[tuple(inners)]


def takes(signature: Signature) -> str:
    """Return what a message says of the options that a part takes."""
    return f"it takes {', '.join(signature.options)}" if signature.options else "it takes none"
