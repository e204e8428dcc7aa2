"""Every SQL statement: migrations, the write path, reading, and the feed that sidecars follow.

Documents go in and come out as docs/reference/policy-language.md defines them, numbers exact (`Decimal`),
ids as lower-case UUID text.
Callers hand over documents that the parser has accepted and `encoding.unstorable` found nothing in, every
default filled in; the database checks again, and its refusals come back as values, never as exceptions.
"""
