"""The controller process: triggers, observe, plan, execute."""
