"""What a policy may see: the view of an account, and named features built from it."""
