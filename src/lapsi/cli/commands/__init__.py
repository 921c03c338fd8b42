"""What each command takes, a module a command; light, so that help and wrong input wait for no library."""
