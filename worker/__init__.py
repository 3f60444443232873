"""The worker: takes explanations off the queue and computes them. Never imports the service."""
