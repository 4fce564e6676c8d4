"""Pieces that several ops' Triton kernels share."""
