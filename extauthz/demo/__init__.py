"""The one-command stack: real processes, real Envoy, real tokens, gone when it ends."""
