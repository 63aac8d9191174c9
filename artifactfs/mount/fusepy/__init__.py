"""The portable transport: fusepy on libfuse 2."""
