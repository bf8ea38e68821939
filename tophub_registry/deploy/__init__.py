"""What records save a whole model. Needs the extra [tune]."""
