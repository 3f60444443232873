"""The ends of jobs, told to the addresses that asked."""
