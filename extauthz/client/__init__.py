"""The Python client of the REST API; imports nothing else of extauthz."""
