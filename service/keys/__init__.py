"""The callers, and what they may do."""
