"""Envoy and Istio configuration: generated from the settings, and examined."""
