"""What service and worker share, and the rest of the core does not import."""
