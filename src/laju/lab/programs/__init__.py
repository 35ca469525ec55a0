"""Programs of users as trials: what the program imports, the task that starts the program, and the engine between the two."""
