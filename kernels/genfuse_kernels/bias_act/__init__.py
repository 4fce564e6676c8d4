"""`bias_act`: scale, noise, bias, activation, gain and clamp of an image in one pass."""
