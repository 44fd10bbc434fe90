"""Federation on a node: its policy and its name, what it holds, opens and keeps to itself."""
