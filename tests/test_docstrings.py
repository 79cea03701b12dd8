# SPDX-License-Identifier: GPL-2.0-or-later
"""What docstrings owe their reader: exceptions are named, what they refer to exists, no sentence hangs in the air."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import OPTIONAL, PAGES, resolve

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "pyuq").rglob("*.py"))
SOURCES = [
    *MODULES,
    *sorted((ROOT / "cython").glob("*.pyx")),
    *sorted(p for p in (ROOT / "lammps_plugin").rglob("*") if p.suffix in (".h", ".cpp")),
]
OURS = {"InputError", "RunError", "ValueError", "TypeError"}  # what a caller may expect
# A text that begins with "Of", or sends its reader elsewhere with "as of": of what, and what is it?
HANGING = re.compile(r'^\s*(?:///?|#|r?""")\s*Of\s|(?:arameters|rguments|xceptions) as of\b')
ROLE = re.compile(r":(?:mod|func|class|meth|attr|data):`~?(pyuq[\w.]*)`")
# Files and folders of the checkout, as comments and pages name them.
PLACE = re.compile(r"(?<![\w./~-])((?:docs|pyuq|cython|lammps_plugin|benchmarks)/[\w./*-]*[\w*/])")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(
    nodes: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public functions and methods, with their names."""
    for node in nodes:
        if getattr(node, "name", "_").startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node


def raised(function: ast.AST) -> set[str]:
    """Names of the exceptions that a function raises itself, not in a function inside."""
    found, waiting = set(), list(ast.iter_child_nodes(function))
    for node in waiting:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", ""))
        waiting += ast.iter_child_nodes(node)
    return found


def silent(source: str) -> list[str]:
    """Public functions that raise what a caller may expect, and do not say so."""
    return [
        f"{name} (line {node.lineno}): {', '.join(sorted(raised(node) & OURS))}"
        for name, node in functions(ast.parse(source).body)
        if raised(node) & OURS
        and not re.search(r"^Raises\n------$", ast.get_docstring(node) or "", re.MULTILINE)
    ]


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_public_functions_say_what_they_raise(path):
    assert not silent(path.read_text())


def test_no_sentence_hangs_in_the_air():
    found = [
        f"{ids(path)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if HANGING.search(line)
    ]
    assert len(SOURCES) > 150 and not found


def test_names_in_docstrings_exist():
    missing = []
    names = {name for path in SOURCES for name in ROLE.findall(path.read_text())}
    for name in sorted(names):
        try:
            resolve(name)
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                missing.append(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert len(names) > 40 and not missing


def test_places_exist():
    """Files and folders that comments, docstrings and pages name."""
    missing, named = [], 0
    for path in [*SOURCES, *PAGES]:
        for place in PLACE.findall(path.read_text()):
            named += 1
            if place != "pyuq/x.py" and not any(ROOT.glob(place.rstrip("/"))):  # an example
                missing.append(f"{ids(path)}: {place}")
    assert named > 60 and not missing


def test_the_checks_find_what_is_wrong():
    body = "    if x:\n        raise errors.InputError('no')\n"
    assert silent(f"def f(x):\n    '''Do.'''\n{body}") == ["f (line 1): InputError"]
    assert silent(f"class A:\n    def f(self, x):\n    {body.replace(chr(10), chr(10) + '    ')}\n")
    assert not silent(
        f"def f(x):\n    '''Do.\n\n    Raises\n    ------\n    InputError\n    '''\n{body}"
    )
    assert not silent(f"def _f(x):\n{body}")
    assert not silent("def f(x):\n    def g():\n        raise ValueError\n    raise KeyError\n")
    assert HANGING.search("  // Of the latest pass.") and HANGING.search('    """Of ASE."""')
    assert HANGING.search('"""Run. Parameters as of `f`."""') and not HANGING.search("// Often")
