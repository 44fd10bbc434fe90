"""A reader, a loss and an experiment for fed-vehicle-reid."""
