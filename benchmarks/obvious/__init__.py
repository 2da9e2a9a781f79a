"""The same mathematics as a researcher would first write it: measuring rod and oracle of the faster package."""
