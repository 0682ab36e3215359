"""One module per command: options and printing. What a command does is in the modules above this room."""
