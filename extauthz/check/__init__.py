"""Envoy's external-authorization protocol: messages, the check service, and one module a transport."""
