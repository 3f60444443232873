"""The words and examples of the API's description, read by no handler."""
