"""Published files from where they are published: the hub, the authors' addresses, conversions."""
