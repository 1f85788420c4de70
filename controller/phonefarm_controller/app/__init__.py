"""The controller as a whole: what is opened, built, run and closed again."""
