"""`leaky_relu_tangent`: the derivative of a ReLU or LeakyReLU along a tangent."""
