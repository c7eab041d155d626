"""How files are opened, sealed and published; knows nothing of what is in them."""
