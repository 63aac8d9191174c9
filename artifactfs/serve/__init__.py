"""The web page of a repository: an API in JSON, and pages made of it. Needs the extra `ui`."""
