"""diffusers' own base classes where diffusers is installed, so that isinstance holds in its pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:

    class SchedulerMixin:
        """diffusers' class, of which genfuse relies on no method."""

    DiffusersMixin = SchedulerMixin
else:
    try:
        from diffusers.configuration_utils import ConfigMixin
        from diffusers.schedulers.scheduling_utils import SchedulerMixin
    except ImportError:

        class SchedulerMixin:
            """diffusers is not installed: there is nothing to inherit from."""

        DiffusersMixin = SchedulerMixin
    else:

        class DiffusersMixin(SchedulerMixin, ConfigMixin):
            """What pipelines test for; every method that genfuse relies on is its own."""
