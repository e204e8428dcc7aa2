"""Every SQL statement, and the feed of policy changes."""
