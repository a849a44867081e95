"""Parts of messages: values and texts, short and on one line."""


def describe(value):
    """Return the repr of a value, shortened, and its type: what an error says was seen."""
    return f"{shorten(repr(value), 60)} ({type(value).__name__})"


def one_line(text):
    """Return a text, or the text of an exception (its type if it has none), on one line."""
    line = " ".join(str(text).split())
    return line or (type(text).__name__ if isinstance(text, BaseException) else "")


def shorten(text, max_length=200):
    """Return at most so many characters of a text, or of the text of an exception, on one line.

    The text may come from any file: control characters and lone surrogates become question marks.
    """
    full = str(text)
    line = one_line(full[: 4 * max_length]) or one_line(text)  # splitting gigabytes takes too long
    line = "".join(c if c.isprintable() else "?" for c in line)
    too_long = len(line) > max_length or len(full) > 4 * max_length
    return line[: max_length - 3] + "..." if too_long else line
