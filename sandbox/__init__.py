"""A real local Kubernetes cluster for the demo and the tests."""
