"""What the API's description says: words and examples, read by no handler."""
