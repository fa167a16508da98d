"""The webhook's certificate authority and serving certificate, their rotation and injection."""
