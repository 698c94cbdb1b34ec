"""What runs the work: engines by name, for whoever offers them without loading one."""

from enum import StrEnum


class EngineName(StrEnum):
    """The engines by name."""

    inline = "inline"
    local = "local"
    ray = "ray"
    beam = "beam"
