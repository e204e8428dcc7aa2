"""Application logs and metrics of a running process."""
