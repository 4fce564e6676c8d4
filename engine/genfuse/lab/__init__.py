"""Kernels of one's own: registered for an op, checked against its reference, measured beside ours.

genfuse.register("my_kernel.cpp")    dispatch runs it
genfuse lab new | check | bench      from the command line
"""

from genfuse.lab.registration import Registration, register, unregister

__all__ = ["Registration", "register", "unregister"]
