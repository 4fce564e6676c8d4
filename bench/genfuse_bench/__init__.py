"""Measurements of genfuse beside its peers: speed, memory, launches; never without correctness."""
