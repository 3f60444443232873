"""What service and worker agree on in Redis: names, and the moves of jobs from state to state."""
