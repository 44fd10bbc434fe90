"""Vehicles and plates in whole photographs: training a detector, measuring it, using it."""
