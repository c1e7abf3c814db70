//! What is done to a subject, at a point. Each fault family is one file.

pub mod kill;
