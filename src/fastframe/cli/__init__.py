"""The command line. Importing this package costs nothing: `verbs` has the commands, and imports click and rich."""
