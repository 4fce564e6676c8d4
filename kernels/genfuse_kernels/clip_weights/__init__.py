"""`clip_weights`: parameters clamped to [−bound, bound], all of a list in one pass."""
