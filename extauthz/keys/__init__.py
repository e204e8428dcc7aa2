"""Where verification keys come from: bounded fetches, last known good, one fetch for all who wait."""
