"""The service's and the worker's agreement on Redis: names, and the moves of jobs from state to state."""
