"""Messages that quote what others wrote, on one line."""


def one_line(message: str) -> str:
    """Escape what is not printable: line ends, the sequences that terminals obey, bytes that are no text."""
    if message.isprintable():
        return message
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
