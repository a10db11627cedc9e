"""The chip: accelerators, their components and dataflows, and the energy and area of their parts."""
