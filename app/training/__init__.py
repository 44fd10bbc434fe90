"""Training of any task, and the files of trained networks."""
