"""`ema_update`: averages of parameters, all of a list in one pass."""
