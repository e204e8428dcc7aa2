"""The admin REST API, one file per noun; health and metrics."""
