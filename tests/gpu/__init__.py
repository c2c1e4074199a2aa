"""What runs on a machine with a GPU."""
