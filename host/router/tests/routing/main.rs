//! The router between an in-memory broker and scripted listeners.

mod dispatch;
mod harness;
mod ladder;
mod swap;
mod trial;
