"""Federation on real machines: certificates, the folder of each party, and the status of runs."""
