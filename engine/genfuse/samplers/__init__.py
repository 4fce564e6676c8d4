"""Diffusion samplers: noise schedules, solvers as tables, and the loop that runs them."""
