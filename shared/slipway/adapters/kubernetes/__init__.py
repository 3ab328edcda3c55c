"""Kubernetes: runs as Jobs and as objects of any other kind, and builds as Jobs."""
