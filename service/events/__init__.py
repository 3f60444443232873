"""The events of a computation, told to whoever listens."""
