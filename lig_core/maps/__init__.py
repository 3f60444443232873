"""The maps of a layer: integrated, composed, given a self term, and as arrays."""
