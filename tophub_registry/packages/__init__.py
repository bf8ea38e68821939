"""What is published: the index, versions, releases, locations, and the copies on this machine."""
