"""The socket in a mount, through which whoever sees nothing else works on staging directories."""
