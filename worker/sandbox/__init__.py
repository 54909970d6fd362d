"""Where commands run: a protocol, the supervisor that ends every descendant, and the sandboxes built on it."""
