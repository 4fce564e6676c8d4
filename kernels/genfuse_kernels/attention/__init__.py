"""`attention`: softmax(q·kᵀ·scale)·v, without its matrix of scores."""
