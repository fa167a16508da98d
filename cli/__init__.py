"""The kubectl plugin ``kubectl sluice``."""
