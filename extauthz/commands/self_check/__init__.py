"""Known input with known answers, judged before a command answers anything (ADR 15)."""
