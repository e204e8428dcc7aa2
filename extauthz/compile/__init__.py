"""Load time, pure: untrusted documents become a PolicySet, a PolicySet becomes a Snapshot."""
