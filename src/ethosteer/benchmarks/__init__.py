"""One file per benchmark; CONTRIBUTING.md describes how to add one."""
