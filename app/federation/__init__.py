"""Federation on a node: policy, name, global models, opened sums and private state."""
