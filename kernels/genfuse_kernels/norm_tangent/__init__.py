"""`norm_tangent`: the derivative of a normalisation along a tangent."""
