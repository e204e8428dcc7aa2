"""Generates Envoy and Istio configuration from the settings, and examines proxy and Kubernetes files."""
