"""Envoy's external-authorization protocol: the wire, the service behind it, one file per transport."""
