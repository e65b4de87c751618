//! Waiting between polls.
