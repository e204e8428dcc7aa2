"""Folders of policy files and decision cases: reading, judging, testing and formatting them as a whole."""
