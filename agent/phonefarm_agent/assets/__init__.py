"""Downloads the videos and pictures that runs put on phones, once per host."""
