"""Access to PostgreSQL, with every SQL statement: migrations, writes, reads, and the feed of the sidecars.

Documents go in and come out as docs/reference/policy-language.md defines them, numbers exact (`Decimal`),
ids as lower-case UUID text.
Callers pass documents that the parser has accepted and for which `encoding.unstorable` found no problem, with
every default filled in. The database checks its constraints; a violation is returned as a value, not raised.
"""
