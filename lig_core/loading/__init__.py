"""Models in memory: read, checked, inspected; texts to tensors."""
