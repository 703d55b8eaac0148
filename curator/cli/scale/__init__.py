"""Commands for more pictures than one machine holds."""

from curator.cli.scale.making import scale_group
from curator.cli.scale.using import push_command

COMMANDS = (scale_group, push_command)
