"""Plain Casbin: the engine of `extauthz casbin enforce`, which answers one request per line."""
