"""Reading, checking and writing weight files."""
