"""What records the data that ships with hwflow and the fixtures of its tests; see CONTRIBUTING.md."""
