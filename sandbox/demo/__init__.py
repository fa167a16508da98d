"""The walkthrough, played on a real cluster for a person to watch, and compared cell by cell."""
