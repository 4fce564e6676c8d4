"""The per-sample reductions that a step may need first: guidance rescale and dynamic threshold."""
