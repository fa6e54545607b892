"""The web pages of a collection: annotators judge pairs, the owner watches and exports."""
