"""Measurements: ours against the authors' library and against the physical floor. Not part of the package."""
