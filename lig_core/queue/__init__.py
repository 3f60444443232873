"""What service and worker agree on in Redis: names, and the moves of a job from state to state. RQ's own layout."""
