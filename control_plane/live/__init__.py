"""Changes as they happen: one database listener a process, any number of followers."""
