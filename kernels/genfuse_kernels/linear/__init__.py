"""`linear`: a matrix product with activation before, and bias, residual, scale and activation behind it."""
