"""`clip_grad_norm`: the norm of all gradients together, and the gradients scaled where it is too large."""
