"""What genfuse raises beside Python's own ValueError and TypeError."""

from __future__ import annotations


class GenfuseError(Exception):
    """The root of genfuse's own errors."""


class UnsupportedError(GenfuseError, RuntimeError):
    """No permitted backend can run this call; the message names the argument at fault."""


class CompilationError(GenfuseError, RuntimeError):
    """A Triton kernel cannot be compiled; the message names it, the call, the cause, and the file with the log."""


class CheckpointError(GenfuseError, ValueError):
    """A checkpoint cannot be read: truncated, of another shape, or not safetensors."""


class KernelError(GenfuseError, ValueError):
    """A user's kernel file does not compile, load or fit its op's contract; the message names its own line."""
