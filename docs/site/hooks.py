# SPDX-License-Identifier: GPL-2.0-or-later
"""What the site does to pages and docstrings before they are drawn."""

import re

from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

ROLE = re.compile(r":(math|func|class|meth|mod|attr|data):`~?([^`]+)`")


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Turn links that leave the folder, ``[text](../../examples/agi)``, into text with the path in the sources."""
    up = "../" * (page.file.src_uri.count("/") + 1)
    leaving = re.compile(rf"\[([^\]]*)\]\({re.escape(up)}(?!\.\.)([^)\s#]*)[^)\s]*\)")
    markdown = leaving.sub(lambda found: _named(*found.groups()), markdown)
    return "\n".join(_bars(x) if x.startswith("|") else x for x in markdown.split("\n"))


def _bars(row: str) -> str:
    r"""Bars that a table of the sources escapes, in code and in formulas: ``\|``."""
    row = re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), row)
    return re.sub(r"\$[^$]*\$", lambda math: math[0].replace(r"\|", r"\vert "), row)


def _named(text: str, path: str) -> str:
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}` of the sources)"


def on_config(config):
    """Teach Markdown what docstrings (numpydoc) write otherwise: formulas, and names of other functions."""
    config.markdown_extensions.append(Docstrings())
    return config


class Docstrings(Extension):
    """See :class:`_Rewriter`."""

    def extendMarkdown(self, md):  # noqa: N802 (Markdown's name)
        """Run before everything else."""
        md.preprocessors.register(_Rewriter(md), "docstrings", 100)


class _Rewriter(Preprocessor):
    r"""``:math:`x``` → ``$x$``, ``.. math::`` → ``$$``, ``:func:`f``` → code."""

    def run(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        block: list[str] | None = None  # of a formula
        for line in lines:
            if block is not None:
                if not line.strip() and not block:
                    continue
                if line.strip() and line.startswith("    "):
                    block.append(line.strip())
                    continue
                found += ["", f"$${' '.join(block)}$$", ""]
                block = None
            if line.strip().startswith(".. math::"):
                block = [first] if (first := line.strip().removeprefix(".. math::").strip()) else []
                continue
            found.append(ROLE.sub(_role, line))
        if block:
            found += ["", f"$${' '.join(block)}$$", ""]
        return found


def _role(found: re.Match) -> str:
    return f"${found[2]}$" if found[1] == "math" else f"`{found[2]}`"
