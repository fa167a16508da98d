"""How one of our processes lives: settings, logs, metrics, health, supervised tasks, shutdown."""
