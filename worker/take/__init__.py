"""Jobs off the queue, and supervision of the process that computes them."""
