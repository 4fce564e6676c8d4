"""Normal noise from Philox4x32-10: a function of seed, row, stream and element alone."""
