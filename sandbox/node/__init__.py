"""The sandbox's node: a small kubelet that runs a real process for every container."""
