//! Writes that the command line makes to the embedded store.
