"""A user's side of a registry: index, versions, locations, fetching, and the packages on this machine."""
