"""Jobs and their results, as the service sees them and as they lie in Redis."""
