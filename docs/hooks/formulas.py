"""Turns the LaTeX of a page into MathML while the site is built, so that a browser needs no script to show it."""

import re
from html import unescape

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
UPRIGHT = re.compile(r"<mi>(&#x003[9A][0-9A-F];)</mi>")  # capital Greek letters
NORM = "<mo>&#x02016;</mo>"
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(html: str, page, **_) -> str:
    """The page with its formulas as MathML; called by mkdocs."""

    def replaced(match: re.Match, display: str) -> str:
        try:
            return to_mathml(match[1], display)
        except ValueError as error:
            raise PluginError(f"{page.file.src_path}: {error}") from error

    html = INLINE.sub(lambda match: replaced(match, "inline"), html)
    return DISPLAY.sub(lambda match: f'<div class="formula">{replaced(match, "block")}</div>', html)


def to_mathml(escaped: str, display: str) -> str:
    """MathML of LaTeX that is escaped for HTML.

    Raises:
        ValueError: for a command that the converter does not know; it would show as text.
    """
    latex = unescape(escaped).strip()
    mathml = convert(latex, display=display)
    if "\\" in mathml or "<mi>&</mi>" in mathml:
        raise ValueError(f"the formula {latex!r} holds a command that cannot be shown")
    mathml = UPRIGHT.sub(r'<mi mathvariant="normal">\1</mi>', mathml)
    return mathml.replace(NORM, NORM.replace("<mo>", '<mo stretchy="false">'))
