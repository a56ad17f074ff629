"""Networks that end in class scores."""
