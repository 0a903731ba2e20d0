"""The commands, each a thin reading of options around what does the work."""
