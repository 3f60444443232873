"""What happens to a computation, told to whoever listens."""
