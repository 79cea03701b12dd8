# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documentation says exists: names, verbs, links; and its Python compiles."""

import importlib
import re
import tomllib
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
