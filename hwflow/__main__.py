"""`python -m hwflow` is the `hwflow` command."""

from hwflow.cli import main

if __name__ == "__main__":
    main()
