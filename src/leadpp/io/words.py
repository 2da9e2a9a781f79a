"""Words for a terminal: names of strangers are shown there, and never obeyed."""


def plain_line(text: str) -> str:
    r"""Return a text as one line, with an escape for every letter that is not printed but does something.

    A file may be called anything: a line of its own in a log, a colour, a title of the window, text from right to left.

    >>> plain_line("a\nleadpp: all well\x1b[2J.jpg")
    'a\\nleadpp: all well\\x1b[2J.jpg'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def plain_lines(text: str) -> str:
    """Return a text of several lines with each as :func:`plain_line` shows it."""
    return "\n".join(map(plain_line, text.split("\n")))
