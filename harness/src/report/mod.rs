//! Reporters: each consumes the event stream and nothing else.
