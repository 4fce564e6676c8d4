"""One fused diffusion sampling step: every solver is a row of coefficients, this op runs the row."""
