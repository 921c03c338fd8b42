"""Texts as people read them: without the marks of HTML that they were scraped with."""

from __future__ import annotations

import re
from html import unescape

BREAKS = "br|p|div|li|ul|ol|tr|table|h[1-6]|hr|blockquote|pre"
OTHERS = "a|abbr|b|center|code|em|font|i|img|s|small|span|strong|sub|sup|td|th|tt|u"
BREAK, OTHER = (re.compile(rf"</?(?:{names})(?:\s+[\w-]+\s*=[^<>]*)?\s*/?>", re.IGNORECASE) for names in (BREAKS, OTHERS))
SPACES, LINES = re.compile(r"[^\S\n]+"), re.compile(r"\s*\n\s*")


def readable(text: str) -> str:
    """A text with line breaks for `<br />` and the like, without tags that only say how it looks, and `&` for `&amp;`.

    A text in which none of these stands is as it was.
    """
    broken = OTHER.sub("", BREAK.sub("\n", text))
    if broken == text:
        return unescape(text)
    return LINES.sub("\n", SPACES.sub(" ", unescape(broken))).strip()
