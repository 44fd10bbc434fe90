"""A federation on real machines: certificates, the folder of each party, and how it is doing."""
