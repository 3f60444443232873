"""The commands that the service adds to `lig`."""
