"""The one form of the text of policy files and decision cases: comments and meaning stay, layout does not."""
