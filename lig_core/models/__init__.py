"""What a model is before it is loaded: its name, its content, its config, its files. Imports no torch."""
