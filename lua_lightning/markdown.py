"""Markdown in lines of bounded length."""

import re
import textwrap

WIDTH = 119
ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s+")


def wrap(text: str, width: int = WIDTH) -> str:
    """Return Markdown whose paragraphs and list items have lines of at most `width` characters.

    Only paragraphs that hold a longer line are filled anew. Tables, headings, code blocks, HTML comments, pictures and
    front matter stay as they are.

    >>> print(wrap("- one two three\\n\\n| a | b | c |", width=9))
    - one two
      three
    <BLANKLINE>
    | a | b | c |
    """
    done, paragraph, fence = [], [], None
    lines = text.split("\n")
    for number, line in enumerate(lines):
        mark = line.strip()[:3]
        if fence is None and (mark == "```" or (mark == "---" and number == 0)):
            fence = mark
        elif fence is not None:
            fence = None if mark == fence else fence
        fixed = fence is not None or not line.strip() or mark in ("```", "---") or line.lstrip()[0] in "|#<!"
        if fixed or ITEM.match(line):
            done += _filled(paragraph, width)
            paragraph = []
        if fixed:
            done.append(line)
        else:
            paragraph.append(line)
    return "\n".join(done + _filled(paragraph, width))


def _filled(paragraph: list[str], width: int) -> list[str]:
    if all(len(line) <= width for line in paragraph):
        return paragraph
    item = ITEM.match(paragraph[0])
    first = item.group() if item else re.match(r"\s*", paragraph[0]).group()  # type: ignore[union-attr]
    words = " ".join([paragraph[0][len(first) :], *paragraph[1:]])
    return textwrap.wrap(
        " ".join(words.split()),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
