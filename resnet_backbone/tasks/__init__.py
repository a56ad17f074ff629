"""The tasks, which combine model, data and evaluation for a run; they are independent."""
