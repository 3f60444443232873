"""Models that Python packages carry."""
