"""Import of a user's Timeloop files: read, lowered to the executables' format, and converted to an accelerator."""
