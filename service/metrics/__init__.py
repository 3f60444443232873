"""The numbers that monitoring reads."""
