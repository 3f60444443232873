"""From a posted body to an accepted job: read, checked, costed, queued."""
