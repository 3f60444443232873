"""A model before it is loaded: its name, its content, its config, its files. Imports no torch."""
