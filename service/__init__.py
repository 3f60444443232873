"""The HTTP service: accepts explanations, queues them, and says how they stand. Imports no torch."""
