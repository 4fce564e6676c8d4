"""`timestep_embedding`: sines and cosines of a timestep."""
