"""Who speaks when: the policy that ends a caller's turn, and its place in the pipeline."""
