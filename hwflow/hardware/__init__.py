"""The chip: accelerators, their components and dataflows, and what their accesses and areas cost."""
