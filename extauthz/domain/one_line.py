"""Puts a message that quotes foreign text on one line."""


def one_line(message: str) -> str:
    """Escape what is not printable: line ends, terminal control sequences, bytes that are not text."""
    if message.isprintable():
        return message
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
