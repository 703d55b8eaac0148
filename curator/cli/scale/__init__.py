"""Commands for more pictures than one machine holds."""

from curator.cli.scale import using as _using
from curator.cli.scale.making import scale_group

COMMANDS = (scale_group,)

__all__ = ["COMMANDS", "_using"]
