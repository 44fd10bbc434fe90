"""Federation on a node: what it holds, opens and keeps to itself."""
