"""Bring your own: a user's Timeloop files, read as source files, lowered to the native form, and derived as an accelerator."""
