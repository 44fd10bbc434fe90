"""Text of others on a terminal or in a log: what would move the cursor or begin a line of its own is escaped."""


def printable(text: str) -> str:
    """The text with every character that is not printable as Python writes it in a string, such as \\x1b or \\n."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
