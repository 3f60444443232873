"""The process with the models."""
