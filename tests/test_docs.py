# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documentation says exists: names, verbs, links; and its Python compiles."""

import argparse
import dataclasses
import importlib
import math
import re
import tomllib
import typing
from pathlib import Path

import pytest

from pyuq.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/README.md"),
    ]
)
MATH = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"`(pyuq(?:\.\w+)+)`")
OPTIONAL = {"torch", "nequip"}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """Text without code blocks."""
    return FENCE.sub("", text)


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def resolve(name: str) -> None:
    """Import a dotted name: the longest part that is a module, then attributes.

    Raises
    ------
    ImportError, AttributeError
    """
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        module = ".".join(parts[:k])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(error.name or ""):
                raise  # a dependency is missing, not the module
            continue
        for attribute in parts[k:]:
            found = getattr(found, attribute)
        return
    raise ImportError(f"no module in {name}")


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_names_exist(page):
    missing = []
    for name in sorted(set(NAME.findall(prose(page.read_text())))):
        try:
            resolve(name)
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                missing.append(f"{name}: {error}")
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_python_compiles(page):
    for language, code in FENCE.findall(page.read_text()):
        if language == "python":
            compile(code, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_imports_in_code_exist(page):
    """`from pyuq.x import a, b` of code blocks."""
    for language, code in FENCE.findall(page.read_text()):
        if language != "python":
            continue
        for module, names in re.findall(r"^from (pyuq[\w.]*) import (.+)$", code, re.MULTILINE):
            for name in names.strip("()").split(","):
                try:
                    resolve(f"{module}.{name.split(' as ')[0].strip()}")
                except ModuleNotFoundError as error:
                    assert error.name in OPTIONAL


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_verbs_exist(page):
    text = page.read_text()
    found = set(re.findall(r"`pyuq ([a-z][\w-]*)", prose(text)))
    for _, code in FENCE.findall(text):
        found |= set(re.findall(r"^(?:\$ |mpirun -np \d+ )?pyuq ([a-z][\w-]*)", code, re.MULTILINE))
    (verbs,) = (a for a in build_parser()._actions if a.dest == "verb")
    assert found <= set(verbs.choices)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_resolve(page):
    broken = []
    for target in LINK.findall(MATH.sub("", prose(page.read_text()))):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_are_toml_with_their_optional_keys_too(page):
    for language, text in FENCE.findall(page.read_text()):
        if language == "toml":
            tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))


def test_optional_settings_of_a_fit_are_at_the_top():
    """Without their comment signs they belong to the top of the file, not to its last table."""
    blocks = [
        t for k, t in FENCE.findall((ROOT / "docs/guide/fitting.md").read_text()) if k == "toml"
    ]
    data = tomllib.loads(re.sub(r"^# (?=\w+ = )", "", blocks[0], flags=re.MULTILINE))
    assert {"one_body", "max_force", "active_set"} <= data.keys()


def rows_of_keys(page: str) -> list[tuple[list[str], list[str]]]:
    """Names and defaults of each row of the tables of keys of a page."""
    tables = re.findall(r"^\| key \| default \|.*\n\|[-| ]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [
        re.split(r" ?(?<!\\)\| ?", line.strip("| "))[:2] for t in tables for line in t.splitlines()
    ]
    return [
        (re.findall(r"`(\w+)`", re.split(r"\*\*|:", names)[-1]), default.split(", "))
        for names, default in rows
    ]


def leaves(cls) -> list[tuple[str, object]]:
    """Keys of a schema and of the tables in it, with their defaults."""
    found, hints = [], typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = [hints[field.name], *typing.get_args(hints[field.name])]
        tables = [k for k in kinds if dataclasses.is_dataclass(k)]
        if tables:
            found += leaves(tables[0])
        else:
            found.append((field.name, field.default))
    return found


def says(text: str, default: object) -> bool:
    """Tell whether a cell gives a default; where there is none it may say anything."""
    if isinstance(default, bool):
        return text == str(default).lower()
    if isinstance(default, int | float) and math.isfinite(default):
        number = re.match(r"[\d.]+", text)
        return number is not None and float(number[0]) == default
    if isinstance(default, str) and default:
        return default in text
    return True


def schemas(name: str) -> list[type]:
    """Dataclasses behind a TOML file."""
    if name == "fit":
        from pyuq.potentials.basis import ACEBasis
        from pyuq.verbs.run_fit import FitFile

        return [FitFile, ACEBasis]
    if name == "bnn":
        pytest.importorskip("torch")
        from pyuq.bnn import run

        return [run.Settings, *run.SAMPLERS.values()]
    return [importlib.import_module(f"pyuq.{name}.settings").Settings]


@pytest.mark.parametrize(
    ("name", "page", "apart"),
    [
        ("fit", "fitting", {"basis", "solver", "groups"}),
        # Explained in the text, or among the keys of the fit.
        ("hal", "hal", {"commands", "atom_style", "unit_style", "charges", "masses", "calculator"}
            | {"arguments", "folder", "wait", "basis", "groups", "one_body", "kind", "smoothness"}
            | {"energy", "force", "virial", "zbl", "margin", "structure", "max_force"}),
        ("srom", "srom", set()),
        ("bnn", "bnn", {"sampler"}),
    ],
)  # fmt: skip
def test_every_key_is_documented_with_its_default(name, page, apart):
    text = (ROOT / f"docs/guide/{page}.md").read_text()
    explained = text + (ROOT / "docs/guide/fitting.md").read_text()
    rows = rows_of_keys(text)
    wrong, keys = [], [leaf for schema in schemas(name) for leaf in leaves(schema)]
    for key, default in keys:
        if key in apart:
            assert key in explained
            continue
        given = [
            cells[names.index(key)] if len(cells) == len(names) else cells[0]
            for names, cells in rows
            if key in names
        ]
        if not any(says(cell, default) for cell in given):
            wrong.append((key, default, given))
    assert not wrong
    known = {key for key, _ in keys} | {"basis", "groups", "model", "file", "overrides"}
    assert {n for names, _ in rows for n in names} <= known


def test_every_option_is_documented():
    """On the pages of commands, guides and installation."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    text = "\n".join(p.read_text() for p in pages)
    missing, parsers = [], [build_parser()]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.option_strings and action.help is None:
                missing.append(f"{parser.prog} {action.option_strings[0]} has no help")
            missing += [
                f"{parser.prog} {option}"
                for option in action.option_strings
                if option not in ("-h", "--help", "--version")
                and not re.search(rf"{option}(?![\w-])", text)
            ]
    assert not missing


def test_every_page_is_on_the_site():
    """In the navigation once, and nothing else is."""
    text = (ROOT / "docs/site/mkdocs.yml").read_text()
    listed = re.findall(r"^ +- [^#\n]*?([\w/-]+\.md)$", text.partition("nav:\n")[2], re.MULTILINE)
    pages = {str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md")}
    assert len(listed) == len(set(listed)) and set(listed) == pages


def test_modules_of_the_reference_exist():
    missing, named = [], 0
    for page in ROOT.glob("docs/reference/*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE):
            named += 1
            path = ROOT / name.replace(".", "/")
            if not (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
                missing.append(f"{page.name}: {name}")
    assert named > 50 and not missing


def test_the_checks_find_what_is_wrong(tmp_path):
    """No check is blind."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One & two\n\n[a](no.md) [b](#no) [c](#one--two)\n\n`pyuq.no.module` `pyuq.lmp.no`\n"
    )
    assert anchors(page) == {"one--two"}
    with pytest.raises(AttributeError):
        resolve("pyuq.no.module")
    with pytest.raises(AttributeError):
        resolve("pyuq.lmp.no")
    with pytest.raises(AssertionError, match=r"no\.md"):
        test_links_resolve(page)
    page.write_text("```\n$ pyuq nonsense x\n```\n")
    with pytest.raises(AssertionError, match="nonsense"):
        test_verbs_exist(page)
    page.write_text("```python\nfrom pyuq.lmp import nothing\n```\n")
    with pytest.raises(AttributeError):
        test_imports_in_code_exist(page)
