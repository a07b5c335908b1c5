//! The router between a broker in memory and listeners written for the purpose.

mod dispatch;
mod harness;
mod ladder;
mod swap;
mod trial;
