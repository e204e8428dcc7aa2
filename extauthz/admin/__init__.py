"""What people and machines beside Envoy talk to: the REST API, one file per noun; health and metrics."""
