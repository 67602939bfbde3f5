"""What people do with a registry, whatever they do it by: the command line and the HTTP API say it, this does it."""
