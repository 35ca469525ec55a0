"""Users' programs as trials: the module that a program imports, the task that starts the program, and the engine between both."""
