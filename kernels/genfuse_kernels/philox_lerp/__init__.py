"""`philox_lerp`: each sample somewhere between two others, by a weight of its own from Philox4x32-10."""
