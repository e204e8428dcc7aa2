"""The admin REST API, one file per noun: its models on top, its routes below; health and metrics."""
