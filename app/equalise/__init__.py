"""Equalisation of a client's data: rules, enhanced images, records and reports."""
