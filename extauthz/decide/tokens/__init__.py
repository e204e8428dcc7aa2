"""Reading and judging bearer tokens (RFC 7519, RFC 8725) and the key sets that verify them (RFC 7517)."""
