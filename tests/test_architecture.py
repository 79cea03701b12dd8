# SPDX-License-Identifier: GPL-2.0-or-later
"""Rooms and the arrows between them: those of docs/develop/architecture.md are those of the sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/develop/architecture.md"
OTHERS = re.compile(r"#include\s+[<\"](mpi\.h|Python\.h|numpy/|lammps\.h|pair\.h|pointers\.h)")


@dataclass(frozen=True)
class Room:
    """A row of a table: paths that belong to a room, and rooms that it may know; starred ones are to go."""

    name: str
    paths: tuple[str, ...]
    known: frozenset[str]
    starred: frozenset[str]


def rooms(page: str) -> dict[str, Room]:
    """Rooms of all tables of a page that have the columns room, where, holds, may know."""
    found = {}
    for row in re.findall(r"^\| `[^|]+\|[^|]+\|[^|]+\|[^|]+\|$", page, re.MULTILINE):
        name, where, _, known = (cell.strip() for cell in row.strip("|").split("|"))
        names = re.findall(r"`([\w/]+)`(\*?)", known.replace("\\", ""))
        room = Room(
            name.strip("`"),
            tuple(re.findall(r"`([^`]+)`", where)),
            frozenset(n for n, _ in names),
            frozenset(n for n, star in names if star),
        )
        assert room.name not in found, f"two rows of {room.name}"
        found[room.name] = room
    return found


def room_of(path: str, house: dict[str, Room]) -> str | None:
    """Name of the room that a source file belongs to: the one with the longest path."""
    fits = [
        (len(where), room.name)
        for room in house.values()
        for where in room.paths
        if path == where or path.startswith(f"{where}/")
    ]
    return max(fits)[1] if fits else None


def cpp_arrows(root: Path) -> Iterator[tuple[str, str]]:
    """(file, included file) of plugin and bindings; of what is not the core's, only the core is looked at."""
    core = root / "lammps_plugin/core"
    for path in sorted([*root.glob("lammps_plugin/**/*.[ch]*"), *root.glob("cython/*.p[yx]*")]):
        for name in re.findall(r"(?:#include|cdef extern from) \"([^\"]+)\"", path.read_text()):
            inside = name.startswith("core/")
            if not inside and core in path.parents:
                yield str(path.relative_to(root)), name
            elif inside:
                yield str(path.relative_to(root)), f"lammps_plugin/{name}"


def module_of(path: Path, root: Path) -> str:
    """Dotted name of a Python file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports of a module, those in functions too, without those of type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from imports(node)


def python_arrows(root: Path) -> Iterator[tuple[str, str]]:
    """(file, imported file) of the package; compiled modules are files of ``cython``."""
    files = {module_of(p, root): p for p in sorted(root.glob("pyuq/**/*.py"))}
    for module, path in files.items():
        for node in imports(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                assert not node.level, f"{path}: relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.partition(".")[0] != "pyuq":
                    continue
                if re.match(r"pyuq\._(core|dump)\b", name):
                    yield str(path.relative_to(root)), "cython/core.pyx"
                    continue
                while name not in files:  # a name in a module
                    name = name.rpartition(".")[0]
                if name != module:
                    yield str(path.relative_to(root)), str(files[name].relative_to(root))


def wrong(arrows: list[tuple[str, str]], house: dict[str, Room]) -> list[str]:
    """Arrows that no row allows, and files that no row names."""
    found = []
    for here, there in arrows:
        a, b = room_of(here, house), room_of(there, house)
        if a is None or b is None:
            found.append(f"{here} -> {there}: of no room")
        elif a != b and b not in house[a].known:
            found.append(f"{here} -> {there}: {a} must not know {b}")
    return found


def circles(arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Groups of files that know each other, directly or by others (Tarjan)."""
    graph: dict[str, list[str]] = {}
    for here, there in arrows:
        graph.setdefault(here, []).append(there)
        graph.setdefault(there, [])
    index, low, stack, found = {}, {}, [], []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


@pytest.fixture(scope="module")
def house() -> dict[str, Room]:
    found = rooms(PAGE.read_text())
    assert len(found) > 25
    return found


def test_tables_name_rooms_that_are_there(house):
    for room in house.values():
        assert room.paths and all((ROOT / path).exists() for path in room.paths), room
        assert room.known <= house.keys(), room
    sources = [*ROOT.glob("pyuq/**/*.py"), *ROOT.glob("lammps_plugin/**/*.[ch]*")]
    assert len(sources) > 150
    homeless = [p for p in sources if room_of(str(p.relative_to(ROOT)), house) is None]
    assert not homeless


def test_arrows_are_those_of_the_tables(house):
    arrows = [*cpp_arrows(ROOT), *python_arrows(ROOT)]
    assert len(arrows) > 700
    assert not wrong(arrows, house)


def test_starred_arrows_are_still_in_use(house):
    used = {(room_of(a, house), room_of(b, house)) for a, b in cpp_arrows(ROOT)}
    used |= {(room_of(a, house), room_of(b, house)) for a, b in python_arrows(ROOT)}
    starred = {(room.name, other) for room in house.values() for other in room.starred}
    assert starred <= used, "mended: take the star and the name out of the table"


def test_no_modules_import_each_other():
    """Not even where an import stands in a function."""
    assert not circles([*python_arrows(ROOT)])


def test_no_headers_include_each_other():
    assert not circles([(a, b) for a, b in cpp_arrows(ROOT) if a.endswith(".h")])


def test_the_core_knows_no_lammps_mpi_and_python():
    for path in ROOT.glob("lammps_plugin/core/**/*.[ch]*"):
        assert not OTHERS.search(path.read_text()), path


def test_the_checks_find_what_is_wrong(tmp_path):
    """No check is blind."""
    page = "| `low` | `pyuq/low` | a | nothing |\n| `high` | `pyuq/high`, `lammps_plugin/core` | b | `low`\\* |\n"
    house = rooms(page)
    assert house["high"].starred == {"low"} and not house["low"].known
    for name, text in {
        "pyuq/__init__.py": "",
        "pyuq/low/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pyuq.high.two\n"
        "def f():\n    from pyuq.high.two import g\n",
        "pyuq/high/two.py": "from pyuq.low.one import f\nfrom pyuq import _core\n",
        "lammps_plugin/core/a.h": '#include "core/b.h"\n#include "error.h"\n',
        "lammps_plugin/core/b.h": '#include "core/a.h"\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    python, cpp = [*python_arrows(tmp_path)], [*cpp_arrows(tmp_path)]
    assert wrong(python, house) == [
        "pyuq/high/two.py -> cython/core.pyx: of no room",
        "pyuq/low/one.py -> pyuq/high/two.py: low must not know high",
    ]
    assert circles(python) == [["pyuq/high/two.py", "pyuq/low/one.py"]]
    assert wrong(cpp, house) == ["lammps_plugin/core/a.h -> error.h: of no room"]
    assert circles(cpp) == [["lammps_plugin/core/a.h", "lammps_plugin/core/b.h"]]
