"""`norm_direction`: the 2-norm of each sample, and the sample over it."""
