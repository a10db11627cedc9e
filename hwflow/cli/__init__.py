"""The command line: each command parses its arguments, calls the library, and prints; one file a command."""

from hwflow.cli.application import app, main

__all__ = ["app", "main"]
