"""Contract suites, fakes and fault injection, for the tests of artifactfs and of whoever extends it."""
