"""One file per preference dataset; CONTRIBUTING.md describes how to add one."""
