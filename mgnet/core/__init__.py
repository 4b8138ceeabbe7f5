"""What every part stands on: checks of what comes in, files, precision, memory, signals."""
