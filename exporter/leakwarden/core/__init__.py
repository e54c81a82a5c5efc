"""Pure accounts: no clock, no log, no file, no thread; standard library only."""
