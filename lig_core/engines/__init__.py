"""Integrands: the rates of a map along its paths."""
