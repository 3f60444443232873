"""Shared by service and worker, and not imported by the rest of the core."""
