"""The commands: each module runs one `extauthz COMMAND` and returns its exit status; `cli.py` parses."""
