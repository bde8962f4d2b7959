"""Which source files an own part consists of, and a digest of them.

They are those that its module reaches by import statements, in its own project or package. What a
module imports by calls, or reads as data, is not seen, nor what it imports of other packages. A
part of an installed release is no source of the user's: its name, its version and the hashes that
its installer wrote stand for it. Comments do not count.
"""

import ast
import contextlib
import functools
import hashlib
import io
import os
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from fieldtrial.own.find import Source, find_in, require
from fieldtrial.own.project import roots
from fieldtrial.own.signature import imported, parsed


def reached(module: str, folders: Sequence[Path]) -> list[Source]:
    """Return the files that a module reaches by its imports, itself among them, by their names.

    A module of the project reaches what else is in its `folders`; one of an installed package
    reaches its package. Raises ValueError where the module is not found, or is no Python.
    """
    first = require(module, folders)
    is_projects = first.root in folders
    there = folders if is_projects else (first.root,)
    found: dict[str, Source] = {}
    left = [first.module]
    while left:
        name = left.pop()
        top = name.partition(".")[0]
        is_pythons = top in sys.stdlib_module_names  # which no file of the project hides
        if name in found or (is_pythons if is_projects else top != first.top):
            continue
        source = next((one for one in (find_in(root, name) for root in there) if one), None)
        if source is not None:
            found[name] = source
            left += _imports(source)
        left += [name.rpartition(".")[0]] if "." in name else []
    return sorted(found.values(), key=lambda one: one.name)


def _imports(source: Source) -> Iterator[str]:
    """Yield the modules that a file may import, wherever in it: what is imported may be one too."""
    for node in ast.walk(parsed(source.path)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and (module := imported(source, node)):
            yield module
            yield from (f"{module}.{one.name}" for one in node.names if one.name != "*")


@functools.cache
def code_digest(name: str) -> str:
    """Return the SHA-256 of the source of an own part, as this process began with it.

    Raises ValueError as `reached` does.
    """
    module = name.partition(":")[0]
    digest = hashlib.sha256()
    if known := release(require(module, roots())):
        return hashlib.sha256(f"{known} {_installed_files(known)}".encode()).hexdigest()
    for source in reached(module, roots()):
        content = without_comments(first_content(source.path))
        digest.update(b"%s\0%d\0%s" % (os.fsencode(source.name), len(content), content))
    return digest.hexdigest()


@functools.cache
def first_content(path: Path) -> bytes:
    """Return a file's content, as this process began with it: its modules are imported once."""
    return path.read_bytes()


def without_comments(content: bytes) -> bytes:
    """Return a Python file's text in UTF-8 without its comments.

    The blanks before a comment go with it, and so does a line that has nothing else. All else stays
    as it is. What cannot be read as Python stays whole.
    """
    try:
        tokens = [*tokenize.tokenize(io.BytesIO(content).readline)]
        text = content.decode(tokens[0].string)
    except (SyntaxError, tokenize.TokenError, ValueError, LookupError):
        return content
    lines, gone = [f"{line}\n" for line in text.split("\n")], set[int]()
    lines[-1] = lines[-1][:-1]
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, (start, end) = token.start[0] - 1, (token.start[1], token.end[1])
            if lines[row][start:end] != token.string:  # which counts lines in another way
                return content
            kept = lines[row][:start].rstrip() + lines[row][end:]
            lines[row] = kept
            gone |= set() if kept.strip() else {row}
    return "".join(line for row, line in enumerate(lines) if row not in gone).encode()


def release(source: Source) -> str | None:
    """Return the release that a module was installed with: 'torch 2.11.0'.

    None for a module of the project, and for one that is edited where it is.
    """
    if source.root in roots():
        return None
    for name in _distributions(source.top):
        with contextlib.suppress(PackageNotFoundError):
            known = distribution(name)
            if Path(str(known.locate_file(""))) == source.root:
                return f"{name} {known.version}"
    return None


def _installed_files(known: str) -> list[str]:
    """Return the names and hashes of a release's Python files, as its installer has written them.

    They tell installs of one version apart, such as those of a repository at different commits.
    """
    name, _ = known.split(" ", 1)
    files = distribution(name).files or ()
    return sorted(f"{one} {one.hash.value}" for one in files if one.hash and one.suffix == ".py")


def _distributions(top: str) -> Iterator[str]:
    """Yield the names that a release with a package may have: most often the package's own."""
    yield top
    yield from packages_distributions().get(top, ())  # which reads a file of each release


def project_sources(names: Sequence[str]) -> dict[str, bytes]:
    """Return {path: content} of the Python files that own parts may import, in order.

    They are the whole packages, and the modules, that the parts reach. An installed release is
    none of them: it is where the jobs run, too.
    """
    found: dict[str, bytes] = {}
    for module in sorted({name.partition(":")[0] for name in names}):
        if release(require(module, roots())):
            continue
        for source in reached(module, roots()):
            package = source.root / source.top
            is_inside = package in source.path.parents  # else a folder of its name is beside it
            paths = sorted(package.rglob("*.py")) if is_inside else [source.path]
            for path in paths:
                found.setdefault(path.relative_to(source.root).as_posix(), path.read_bytes())
    return dict(sorted(found.items()))


def digest_of_all(known: Mapping[str, str]) -> str:
    """Return a digest of own parts, whose names and digests are `known`."""
    return hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()


def digests(parts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the digest of each own part, by its name."""
    return {name: code_digest(name) for names in parts.values() for name in names}
