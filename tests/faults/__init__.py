"""What goes wrong, on purpose, with real processes: see tests/README.md, "Faults"."""
