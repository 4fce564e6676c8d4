"""Names of schedules, spacings and solvers are checked as every name is: `genfuse.names`."""

from genfuse.names import check_name, unknown_name

__all__ = ["check_name", "unknown_name"]
